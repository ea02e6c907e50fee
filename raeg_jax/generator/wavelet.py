"""Invertible down-sampling by two: Haar wavelet, its integer lifting, and pixel-unshuffle.

Each transform takes [B, H, W, C] to [B, ceil(H/2), ceil(W/2), 4C]; the channels are four groups
of C, indexed by (row, column) band:

    group 0 (low, low)   group 1 (low, high)   group 2 (high, low)   group 3 (high, high)

An odd row or column has no partner. Its high bands are zero, and couplings must not change these
zeros (`validity` marks them): then the inverse returns an image of the odd size, exactly, without
stored padding.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.image.quantise import floor_ste

# (even, odd samples) -> (low, high), or its inverse.
Transform = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


class Downsampling(NamedTuple):
    """A pairwise transform, applied to columns, then rows.

    Attributes:
      analyse: (even, odd samples) -> (low, high).
      synthesise: its inverse.
      partner: the odd sample assumed beside an even one without a partner, so that high is zero.
      gain: factor by which `low` grows with each level, for images that vary slowly.
    """

    analyse: Transform
    synthesise: Transform
    partner: Callable[[jax.Array], jax.Array]
    gain: float

    def forward(self, x: jax.Array) -> jax.Array:
        """float32 [B, H, W, C] -> [B, ceil(H/2), ceil(W/2), 4C]."""
        low, high = self._split(x, axis=2)
        (ll, hl), (lh, hh) = self._split(low, axis=1), self._split(high, axis=1)
        z = jnp.concatenate([ll, lh, hl, hh], -1)
        mask = validity(*x.shape[1:])
        # Already zero, except where compilers fuse multiplication and subtraction.
        return z if mask is None else z * mask

    def inverse(self, z: jax.Array, height: int, width: int) -> jax.Array:
        """The reverse of `forward`, to an image of `height` x `width`."""
        ll, lh, hl, hh = jnp.split(z, 4, axis=-1)
        low, high = self._merge(ll, hl, 1, height), self._merge(lh, hh, 1, height)
        return self._merge(low, high, 2, width)

    def _split(self, x, axis):
        first, second = _every_second(x, 0, axis), _every_second(x, 1, axis)
        if x.shape[axis] % 2:
            last = jax.lax.slice_in_dim(first, first.shape[axis] - 1, None, axis=axis)
            second = jnp.concatenate([second, self.partner(last)], axis)
        return self.analyse(first, second)

    def _merge(self, low, high, axis, size):
        pair = jnp.stack(self.synthesise(low, high), axis + 1)
        shape = list(low.shape)
        shape[axis] *= 2
        return jax.lax.slice_in_dim(pair.reshape(shape), 0, size, axis=axis)


def validity(height: int, width: int, channels: int) -> np.ndarray | None:
    """Marks the coefficients that an image of `height` x `width` has.

    Returns:
      float32 [1, ceil(H/2), ceil(W/2), 4 * channels] of ones, and zeros where a high band has no
      partner; None where both sides are even and every coefficient exists.
    """
    if height % 2 == 0 and width % 2 == 0:
        return None
    mask = np.ones((1, (height + 1) // 2, (width + 1) // 2, 4, channels), np.float32)
    if width % 2:
        mask[:, :, -1, [1, 3]] = 0
    if height % 2:
        mask[:, -1, :, [2, 3]] = 0
    return mask.reshape(*mask.shape[:3], 4 * channels)


def editable_blocks(editable: jax.Array) -> jax.Array:
    """Marks the blocks of 2 x 2 whose pixels are all editable; odd ends have smaller blocks.

    Args:
      editable: bool [B, H, W, 1].

    Returns:
      bool [B, ceil(H/2), ceil(W/2), 1].
    """
    odd = [(0, 0), *((0, size % 2) for size in editable.shape[1:3]), (0, 0)]
    x = jnp.pad(editable, odd, constant_values=True)
    return x[:, ::2, ::2] & x[:, ::2, 1::2] & x[:, 1::2, ::2] & x[:, 1::2, 1::2]


def _every_second(x, start, axis):
    return jax.lax.slice_in_dim(x, min(start, x.shape[axis]), None, stride=2, axis=axis)


_SQRT_HALF = float(np.sqrt(0.5))

# Orthonormal: keeps squared distances, so MSE may be read in either domain.
HAAR = Downsampling(
    analyse=lambda a, b: ((a + b) * _SQRT_HALF, (a - b) * _SQRT_HALF),
    synthesise=lambda s, d: ((s + d) * _SQRT_HALF, (s - d) * _SQRT_HALF),
    partner=lambda a: a,
    gain=2.0,
)

# S-transform (Said & Pearlman 1996): integers to integers, exactly undone. Its rounding is
# straight-through: otherwise three of four pixels would get no gradient from the low band.
HAAR_INTEGER = Downsampling(
    analyse=lambda a, b: (b + floor_ste((a - b) / 2), a - b),
    synthesise=lambda s, d: (s + d - floor_ste(d / 2), s - floor_ste(d / 2)),
    partner=lambda a: a,
    gain=1.0,
)

# Pixel-unshuffle (Shi et al., arXiv 1609.05158): the four pixels of each 2 x 2 block.
UNSHUFFLE = Downsampling(
    analyse=lambda a, b: (a, b),
    synthesise=lambda a, b: (a, b),
    partner=jnp.zeros_like,
    gain=1.0,
)
