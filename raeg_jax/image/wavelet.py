"""Invertible down-sampling by two: Haar wavelet, its integer lifting, and pixel-unshuffle.

Each transform takes [B, H, W, C] to [B, ceil(H/2), ceil(W/2), 4C]; the channels are four groups
of C, indexed by (row, column) band:

    group 0 (low, low)   group 1 (low, high)   group 2 (high, low)   group 3 (high, high)

An odd row or column has no partner. Its high bands are set to zero, and whoever changes the
coefficients must leave these zeros alone (`validity` marks them): then the inverse returns an
image of the odd size, exactly. No padding is stored, and none has to be guessed.
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.image.quantise import floor_ste


class Transform(Protocol):
    """A function of one image axis pair, see `Downsampling`."""

    def __call__(self, first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]: ...


class Downsampling(NamedTuple):
    """A pairwise transform, applied to columns, then rows.

    Attributes:
      analyse: (even, odd samples) -> (low, high).
      synthesise: its inverse.
      lonely: the odd sample to assume beside one without a partner, so that high is zero.
      gain: factor by which `low` grows with each level, for images that vary slowly.
    """

    analyse: Transform
    synthesise: Transform
    lonely: Transform
    gain: float

    def forward(self, x: jax.Array) -> jax.Array:
        """float32 [B, H, W, C] -> [B, ceil(H/2), ceil(W/2), 4C]."""
        low, high = self._split(x, axis=2)
        (ll, hl), (lh, hh) = self._split(low, axis=1), self._split(high, axis=1)
        z = jnp.concatenate([ll, lh, hl, hh], -1)
        mask = validity(*x.shape[1:])
        # Already zero but for compilers that fuse multiply and subtract.
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
            second = jnp.concatenate([second, self.lonely(last)], axis)
        return self.analyse(first, second)

    def _merge(self, low, high, axis, size):
        pair = jnp.stack(self.synthesise(low, high), axis + 1)
        shape = list(low.shape)
        shape[axis] *= 2
        return jax.lax.slice_in_dim(pair.reshape(shape), 0, size, axis=axis)


def validity(height: int, width: int, channels: int) -> np.ndarray | None:
    """Marks the coefficients that an image of `height` x `width` really has.

    Returns:
      float32 [1, ceil(H/2), ceil(W/2), 4 * channels] of ones, and zeros where a high band has no
      partner; None where both sides are even and every coefficient is there.
    """
    if height % 2 == 0 and width % 2 == 0:
        return None
    mask = np.ones((1, (height + 1) // 2, (width + 1) // 2, 4, channels), np.float32)
    if width % 2:
        mask[:, :, -1, [1, 3]] = 0
    if height % 2:
        mask[:, -1, :, [2, 3]] = 0
    return mask.reshape(*mask.shape[:3], 4 * channels)


def whole_blocks(free: jax.Array) -> jax.Array:
    """Marks the blocks of 2 x 2 of which every sample is marked; odd ends have smaller blocks.

    Args:
      free: bool [B, H, W, 1].

    Returns:
      bool [B, ceil(H/2), ceil(W/2), 1].
    """
    odd = [(0, 0), *((0, size % 2) for size in free.shape[1:3]), (0, 0)]
    free = jnp.pad(free, odd, constant_values=True)
    return free[:, ::2, ::2] & free[:, ::2, 1::2] & free[:, 1::2, ::2] & free[:, 1::2, 1::2]


def _every_second(x, start, axis):
    return jax.lax.slice_in_dim(x, min(start, x.shape[axis]), None, stride=2, axis=axis)


_SQRT_HALF = float(np.sqrt(0.5))

# Orthonormal: keeps squared distances, so MSE may be read in either domain.
HAAR = Downsampling(
    analyse=lambda a, b: ((a + b) * _SQRT_HALF, (a - b) * _SQRT_HALF),
    synthesise=lambda s, d: ((s + d) * _SQRT_HALF, (s - d) * _SQRT_HALF),
    lonely=lambda a: a,
    gain=2.0,
)

# S-transform (Said & Pearlman 1996): integers to integers, exactly undone. Its rounding is
# straight-through: without, three of four pixels would get no gradient from the low band.
HAAR_INTEGER = Downsampling(
    analyse=lambda a, b: (b + floor_ste((a - b) / 2), a - b),
    synthesise=lambda s, d: (s + d - floor_ste(d / 2), s - floor_ste(d / 2)),
    lonely=lambda a: a,
    gain=1.0,
)

# Pixel-unshuffle (Shi et al., arXiv 1609.05158): the four pixels of each 2 x 2 block.
UNSHUFFLE = Downsampling(
    analyse=lambda a, b: (a, b),
    synthesise=lambda a, b: (a, b),
    lonely=jnp.zeros_like,
    gain=1.0,
)
