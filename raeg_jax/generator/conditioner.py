"""Conditioners: the sub-networks inside a coupling that compute shift and scale.

Every conditioner maps [B, h, w, C] to [B, h, w, features]; inputs and outputs are of the order of
one. Its last layer starts at zero, so that a fresh generator is the identity. The same code serves
floating and fixed point, by an `Arithmetic`.
"""

import functools
import math
import operator
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from raeg_jax.exact import fixed_point


class Arithmetic(NamedTuple):
    """The layers and operations of a conditioner.

    Attributes:
      enter: converts the input to activations.
      conv: (features, kernel size) -> convolution, from activations to activations.
      last: features -> the output layer.
      leaky: leaky ReLU.
      add: sum of activations.
    """

    enter: Callable[[jax.Array], jax.Array]
    conv: Callable[..., nn.Module]
    last: Callable[..., nn.Module]
    leaky: Callable[[jax.Array], jax.Array]
    add: Callable[[jax.Array, jax.Array], jax.Array]


FLOAT = Arithmetic(
    enter=lambda x: x,
    conv=nn.Conv,
    last=functools.partial(nn.Conv, kernel_size=(3, 3), kernel_init=nn.initializers.zeros),
    leaky=functools.partial(nn.leaky_relu, negative_slope=0.2),
    add=operator.add,
)
FIXED = Arithmetic(
    enter=fixed_point.snap,
    conv=fixed_point.FixedConv,
    last=functools.partial(
        fixed_point.FixedConv,
        kernel_size=(3, 3),
        kernel_init=nn.initializers.zeros,
        snapped=False,
    ),
    leaky=fixed_point.leaky,
    add=lambda x, y: fixed_point.snap(x + y),
)


class Conditioner(nn.Module):
    """The settings of every conditioner.

    Attributes:
      features: channels of the output.
      width: channels inside.
      depth: number of hidden layers or blocks.
      arithmetic: `FLOAT` or `FIXED`.
      has_fixed_point: whether it can be `FIXED`.
    """

    features: int
    width: int
    depth: int
    arithmetic: Arithmetic = FLOAT
    has_fixed_point: ClassVar[bool] = True


class PlainConditioner(Conditioner):
    """`depth` 3 x 3 convolutions with leaky ReLU, then the output layer."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32 [B, h, w, C] -> [B, h, w, features]."""
        ops = self.arithmetic
        x = ops.enter(x)
        for _ in range(self.depth):
            x = ops.leaky(ops.conv(self.width, (3, 3))(x))
        return ops.last(self.features)(x)


class ResidualConditioner(Conditioner):
    """`depth` pre-activation residual blocks (He et al., arXiv 1603.05027) after a 3 x 3 stem."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32 [B, h, w, C] -> [B, h, w, features]."""
        ops = self.arithmetic
        x = ops.enter(x)
        x = ops.conv(self.width, (3, 3))(x)
        for _ in range(self.depth):
            h = ops.conv(self.width, (3, 3))(ops.leaky(x))
            x = ops.add(x, ops.conv(self.width, (3, 3))(ops.leaky(h)))
        return ops.last(self.features)(ops.leaky(x))


class DenseConditioner(Conditioner):
    """Dense block: each layer sees all earlier ones (Huang et al., arXiv 1608.06993), as in IRN.

    Each of the `depth` layers adds width / 2 channels.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32 [B, h, w, C] -> [B, h, w, features]."""
        ops = self.arithmetic
        x = ops.enter(x)
        for _ in range(self.depth):
            h = ops.leaky(ops.conv(max(1, self.width // 2), (3, 3))(x))
            x = jnp.concatenate([x, h], axis=-1)
        return ops.last(self.features)(x)


class UNetConditioner(Conditioner):
    """A small U-Net (Ronneberger et al., arXiv 1505.04597): a large receptive field at low cost.

    Halves the resolution `depth` times, doubling the width up to four times the first, and adds
    each scale back on the way up. Our addition to the paper's dense blocks: the shift that fools
    a classifier depends on the whole object, not on a 9 x 9 neighbourhood.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32 [B, h, w, C] -> [B, h, w, features]."""
        ops = self.arithmetic
        x = ops.enter(x)
        widths = [self.width * min(2**i, 4) for i in range(self.depth + 1)]
        x = ops.conv(widths[0], (3, 3))(x)
        skips = []
        for width in widths[1:]:
            skips.append(x)
            x = ops.conv(width, (3, 3), strides=2)(ops.leaky(x))
            x = ops.add(x, ops.conv(width, (3, 3))(ops.leaky(x)))
        for width, skip in zip(reversed(widths[:-1]), reversed(skips), strict=True):
            x = ops.conv(width, (1, 1))(x)
            x = ops.add(_double(x)[:, : skip.shape[1], : skip.shape[2]], skip)
            x = ops.add(x, ops.conv(width, (3, 3))(ops.leaky(x)))
        return ops.last(self.features)(ops.leaky(x))


class AttentionConditioner(Conditioner):
    """`depth` blocks of self-attention and a pointwise network (arXiv 2010.11929), after a stem.

    Every position attends to the means of at most 8 x 8 regions (Wang et al., arXiv 2102.12122), so
    that it sees the whole image while memory stays linear in it. The stem, a 3 x 3 convolution, is
    also given the coordinates. Its softmax has no form in fixed point.
    """

    has_fixed_point: ClassVar[bool] = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32 [B, h, w, C] -> [B, h, w, features]."""
        ops = self.arithmetic
        x = ops.conv(self.width, (3, 3))(jnp.concatenate([x, _coordinates(x)], axis=-1))
        heads = math.gcd(self.width, _HEADS)
        for _ in range(self.depth):
            h = nn.LayerNorm()(x)
            positions = h.reshape(h.shape[0], -1, self.width)
            regions = _regions(h).reshape(h.shape[0], -1, self.width)
            attention = nn.MultiHeadDotProductAttention(heads, qkv_features=self.width)
            x = x + attention(positions, regions).reshape(x.shape)
            h = ops.leaky(nn.Dense(2 * self.width)(nn.LayerNorm()(x)))
            x = x + nn.Dense(self.width)(h)
        return ops.last(self.features)(ops.leaky(x))


# Most heads of attention, and most regions of each side.
_HEADS, _REGIONS = 4, 8


def _coordinates(x):
    """[B, h, w, 2] from -1 to 1."""
    sides = [jnp.linspace(-1.0, 1.0, size) for size in x.shape[1:3]]
    planes = jnp.stack(jnp.meshgrid(*sides, indexing="ij"), axis=-1)
    return jnp.broadcast_to(planes, (*x.shape[:3], 2)).astype(x.dtype)


def _regions(x):
    """Means of at most `_REGIONS` x `_REGIONS` regions of equal size; those at the end are cut."""
    window = tuple(-(-size // _REGIONS) for size in x.shape[1:3])
    return nn.avg_pool(x, window, window, padding="SAME", count_include_pad=False)


def _double(x):
    """Nearest-neighbour up-sampling by two."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


CONDITIONERS: dict[str, type[Conditioner]] = {
    "dense": DenseConditioner,
    "residual": ResidualConditioner,
    "plain": PlainConditioner,
    "unet": UNetConditioner,
    "attention": AttentionConditioner,
}
