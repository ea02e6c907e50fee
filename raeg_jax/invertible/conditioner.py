"""Conditioners: the plain sub-networks inside a coupling that compute shift and scale.

Every conditioner maps [B, h, w, C] to [B, h, w, features], of the order of one at both ends. Its
last layer starts at zero, so that a fresh generator is the identity. All are written once, for
floating and for fixed point.
"""

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from raeg_jax.invertible import fixed_point


class Arithmetic(NamedTuple):
    """What a conditioner computes with.

    Attributes:
      enter: makes activations of the input.
      conv: (features, kernel size) -> convolution, from activations to activations.
      last: features -> the output layer.
      leaky: leaky ReLU.
      add: of activations.
    """

    enter: Callable[[jax.Array], jax.Array]
    conv: Callable[..., nn.Module]
    last: Callable[[int], nn.Module]
    leaky: Callable[[jax.Array], jax.Array]
    add: Callable[[jax.Array, jax.Array], jax.Array]


_LAST = {"kernel_size": (3, 3), "kernel_init": nn.initializers.zeros}

FLOAT = Arithmetic(
    enter=lambda x: x,
    conv=nn.Conv,
    last=functools.partial(nn.Conv, **_LAST),
    leaky=functools.partial(nn.leaky_relu, negative_slope=0.2),
    add=operator.add,
)
FIXED = Arithmetic(
    enter=fixed_point.snap,
    conv=fixed_point.FixedConv,
    last=functools.partial(fixed_point.FixedConv, snapped=False, **_LAST),
    leaky=fixed_point.leaky,
    add=lambda x, y: fixed_point.snap(x + y),
)


class Conditioner(nn.Module):
    """What every conditioner is told.

    Attributes:
      features: channels of the output.
      width: channels inside.
      depth: hidden layers, or blocks of them.
      arithmetic: `FLOAT` or `FIXED`.
    """

    features: int
    width: int
    depth: int
    arithmetic: Arithmetic = FLOAT


class PlainConditioner(Conditioner):
    """`depth` 3 x 3 convolutions with leaky ReLU, then the output layer."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32 [B, h, w, C] -> [B, h, w, features]."""
        do = self.arithmetic
        x = do.enter(x)
        for _ in range(self.depth):
            x = do.leaky(do.conv(self.width, (3, 3))(x))
        return do.last(self.features)(x)


class ResidualConditioner(Conditioner):
    """`depth` pre-activation residual blocks (He et al., arXiv 1603.05027) after a 3 x 3 stem."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32 [B, h, w, C] -> [B, h, w, features]."""
        do = self.arithmetic
        x = do.enter(x)
        x = do.conv(self.width, (3, 3))(x)
        for _ in range(self.depth):
            h = do.conv(self.width, (3, 3))(do.leaky(x))
            x = do.add(x, do.conv(self.width, (3, 3))(do.leaky(h)))
        return do.last(self.features)(do.leaky(x))


class DenseConditioner(Conditioner):
    """Dense block: each layer sees all earlier ones (Huang et al., arXiv 1608.06993), as in IRN.

    `width` is shared out: each of the `depth` layers adds width / 2 channels.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32 [B, h, w, C] -> [B, h, w, features]."""
        do = self.arithmetic
        x = do.enter(x)
        for _ in range(self.depth):
            h = do.leaky(do.conv(max(1, self.width // 2), (3, 3))(x))
            x = jnp.concatenate([x, h], axis=-1)
        return do.last(self.features)(x)


class UNetConditioner(Conditioner):
    """A small U-Net (Ronneberger et al., arXiv 1505.04597): sees far, at little cost.

    Halves the resolution `depth` times, doubling the width up to four times the first, and adds
    each scale back on the way up. Our addition to the paper's dense blocks: the shift that fools
    a classifier depends on the whole object, not on a 9 x 9 neighbourhood.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32 [B, h, w, C] -> [B, h, w, features]."""
        do = self.arithmetic
        x = do.enter(x)
        widths = [self.width * min(2**i, 4) for i in range(self.depth + 1)]
        x = do.conv(widths[0], (3, 3))(x)
        skips = []
        for width in widths[1:]:
            skips.append(x)
            x = do.conv(width, (3, 3), strides=2)(do.leaky(x))
            x = do.add(x, do.conv(width, (3, 3))(do.leaky(x)))
        for width, skip in zip(reversed(widths[:-1]), reversed(skips), strict=True):
            x = do.conv(width, (1, 1))(x)
            x = do.add(_double(x)[:, : skip.shape[1], : skip.shape[2]], skip)
            x = do.add(x, do.conv(width, (3, 3))(do.leaky(x)))
        return do.last(self.features)(do.leaky(x))


def _double(x):
    """Nearest-neighbour up-sampling by two."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


CONDITIONERS: dict[str, type[Conditioner]] = {
    "dense": DenseConditioner,
    "residual": ResidualConditioner,
    "plain": PlainConditioner,
    "unet": UNetConditioner,
}
