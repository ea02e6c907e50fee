"""Conditioners: the plain sub-networks inside a coupling that compute shift and scale.

Every conditioner maps [B, h, w, C] to [B, h, w, features], of the order of one at both ends. Its
last layer starts at zero, so that a fresh generator is the identity.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

_FINAL = {"kernel_size": (3, 3), "kernel_init": nn.initializers.zeros}


class Conditioner(nn.Module):
    """What every conditioner is told.

    Attributes:
      features: channels of the output.
      width: channels inside.
      depth: hidden layers, or blocks of them.
    """

    features: int
    width: int
    depth: int


class PlainConditioner(Conditioner):
    """`depth` 3 x 3 convolutions with leaky ReLU, then the output layer."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32 [B, h, w, C] -> [B, h, w, features]."""
        for _ in range(self.depth):
            x = nn.leaky_relu(nn.Conv(self.width, (3, 3))(x), 0.2)
        return nn.Conv(self.features, **_FINAL)(x)


class ResidualConditioner(Conditioner):
    """`depth` pre-activation residual blocks (He et al., arXiv 1603.05027) after a 3 x 3 stem."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32 [B, h, w, C] -> [B, h, w, features]."""
        x = nn.Conv(self.width, (3, 3))(x)
        for _ in range(self.depth):
            h = nn.Conv(self.width, (3, 3))(nn.leaky_relu(x, 0.2))
            x = x + nn.Conv(self.width, (3, 3))(nn.leaky_relu(h, 0.2))
        return nn.Conv(self.features, **_FINAL)(nn.leaky_relu(x, 0.2))


class DenseConditioner(Conditioner):
    """Dense block: each layer sees all earlier ones (Huang et al., arXiv 1608.06993), as in IRN.

    `width` is shared out: each of the `depth` layers adds width / 2 channels.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32 [B, h, w, C] -> [B, h, w, features]."""
        for _ in range(self.depth):
            h = nn.leaky_relu(nn.Conv(max(1, self.width // 2), (3, 3))(x), 0.2)
            x = jnp.concatenate([x, h], axis=-1)
        return nn.Conv(self.features, **_FINAL)(x)


class UNetConditioner(Conditioner):
    """A small U-Net (Ronneberger et al., arXiv 1505.04597): sees far, at little cost.

    Halves the resolution `depth` times, doubling the width up to four times the first, and adds
    each scale back on the way up. Our addition to the paper's dense blocks: the shift that fools
    a classifier depends on the whole object, not on a 9 x 9 neighbourhood.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32 [B, h, w, C] -> [B, h, w, features]."""
        widths = [self.width * min(2**i, 4) for i in range(self.depth + 1)]
        x = nn.Conv(widths[0], (3, 3))(x)
        skips = []
        for width in widths[1:]:
            skips.append(x)
            x = nn.Conv(width, (3, 3), strides=2)(nn.leaky_relu(x, 0.2))
            x = x + nn.Conv(width, (3, 3))(nn.leaky_relu(x, 0.2))
        for width, skip in zip(reversed(widths[:-1]), reversed(skips), strict=True):
            x = nn.Conv(width, (1, 1))(x)
            x = _double(x)[:, : skip.shape[1], : skip.shape[2]] + skip
            x = x + nn.Conv(width, (3, 3))(nn.leaky_relu(x, 0.2))
        return nn.Conv(self.features, **_FINAL)(nn.leaky_relu(x, 0.2))


def _double(x):
    """Nearest-neighbour up-sampling by two."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


CONDITIONERS: dict[str, type[Conditioner]] = {
    "dense": DenseConditioner,
    "residual": ResidualConditioner,
    "plain": PlainConditioner,
    "unet": UNetConditioner,
}
