"""The patch discriminator of the GAN term (Isola et al. 2016, arXiv 1611.07004)."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

# A 4x4 kernel with one pixel of padding, as in pix2pix: stride 2 halves, stride 1 removes one row.
_Conv = functools.partial(
    nn.Conv, kernel_size=(4, 4), padding=1, kernel_init=nn.initializers.normal(0.02)
)


def _spectral(x: jax.Array, features: int, stride: int, inner: bool, train: bool) -> jax.Array:
    """A convolution of spectral norm 1 (Miyato et al. 2018, arXiv 1802.05957).

    The norm is that of the kernel as a matrix; one power iteration a training step.
    """
    del inner  # every layer is normalised, including the first and the last
    return nn.SpectralNorm(_Conv(features, strides=stride))(x, update_stats=train)


def _group(x: jax.Array, features: int, stride: int, inner: bool, train: bool) -> jax.Array:
    """A convolution, then group norm (Wu and He 2018, arXiv 1803.08494) on the inner layers."""
    del train  # no statistics are kept
    x = _Conv(features, strides=stride)(x)
    return nn.GroupNorm(num_groups=math.gcd(features, 8))(x) if inner else x


# name -> layer(x, features, stride, inner, train), called in a compact method.
NORMS: dict[str, Callable[..., jax.Array]] = {"spectral": _spectral, "group": _group}


class Discriminator(nn.Module):
    """PatchGAN: classifies each patch of an image as original or protected.

    `layers` convolutions of stride 2, one of stride 1, and one to a single channel, with leaky
    ReLUs between them. The receptive field of a logit is 34 pixels with two layers, 70 with three.

    Attributes:
      width: features of the first convolution; they double with each layer, up to 8 times.
      layers: number of halvings.
      norm: `spectral` or `group`. The first keeps one vector for each kernel in `batch_stats`;
        with `train=True` it needs `mutable=["batch_stats"]`.
    """

    width: int = 64
    layers: int = 3
    norm: str = "spectral"

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Computes the logits of all patches.

        Args:
          images: float32 `[B, H, W, 3]` in pixel units, H and W at least `3 * 2**layers`.
          train: whether spectral norm updates its estimate; group norm has none.

        Returns:
          float32 `[B, H // 2**layers - 2, W // 2**layers - 2, 1]`, logits: positive for original.
        """
        layer = functools.partial(NORMS[self.norm], train=train)
        x = jnp.asarray(images, jnp.float32) / 127.5 - 1
        for i in range(self.layers + 1):
            features = self.width * min(2**i, 8)
            x = layer(x, features, 2 if i < self.layers else 1, inner=i > 0)
            x = nn.leaky_relu(x, 0.2)
        return layer(x, 1, 1, inner=False)
