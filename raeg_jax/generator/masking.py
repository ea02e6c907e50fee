"""Masks of gradient couplings, and estimates of the masked samples from the others.

A round of a gradient coupling changes the samples of a mask by a function of the other samples. All
masks but `checkerboard` mask one channel of every pixel, another one in each of three rounds: with
two channels known everywhere, the third can be estimated well.

Masks come from NumPy and hashes, estimates are computed in integers: both are the same with every
version of JAX and on every device. No estimate depends on the values of masked samples.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.exact.integers import divide

_CHANNELS = 3
_REACH = 1
# Weights of the neighbours by squared distance.
_WEIGHTS = {1: 4, 2: 1}
_NEIGHBOURS = {
    (i, j): _WEIGHTS[i * i + j * j]
    for i in range(-_REACH, _REACH + 1)
    for j in range(-_REACH, _REACH + 1)
    if (i, j) != (0, 0)
}
# Share, in sixteenths, of the other channels' detail that is added to a masked sample.
_DETAIL = 15
# Estimate of a sample without unmasked neighbours.
_UNKNOWN = 128


def checkerboard(height: int, width: int) -> np.ndarray:
    """All channels of every second pixel, then of the others.

    Args:
      height: of the images, in pixels.
      width: of the images, in pixels.

    Returns:
      bool [period, height, width, 3], true where a round may change a sample; the rounds use them
      in turn.
    """
    black = np.add.outer(np.arange(height), np.arange(width)) % 2 == 0
    return np.repeat(np.stack([black, ~black])[..., None], _CHANNELS, axis=-1)


def diagonal(height: int, width: int) -> np.ndarray:
    """Red, green and blue in turn along each row, shifted by two from row to row.

    Args and result as `checkerboard`.
    """
    return _channels(np.add.outer(2 * np.arange(height), np.arange(width)))


def random(height: int, width: int) -> np.ndarray:
    """A random first channel for each pixel, the same in every run.

    SHAKE-256 of the image size gives 64 bits a pixel: the three channels differ in probability by
    less than 2^-62.

    Args and result as `checkerboard`.
    """
    seed = b"raeg masks %d %d " % (height, width)
    drawn = np.frombuffer(hashlib.shake_256(seed).digest(8 * height * width), "<u8")
    return _channels((drawn % np.uint64(_CHANNELS)).astype(int).reshape(height, width))


MASKS: dict[str, Callable[[int, int], np.ndarray]] = {
    "checkerboard": checkerboard,
    "diagonal": diagonal,
    "random": random,
}


def round_mask(masks: np.ndarray, index: jax.Array, token: jax.Array | None) -> jax.Array:
    """The mask of one round.

    Each cell of a token shifts the order of masks: without the token it is unknown which samples a
    round changed. In any case every sample is masked once a period.

    Args:
      masks: bool [period, H, W, C].
      index: number of the round, int32 scalar.
      token: +1 and -1, [B, H, W, P], or None.

    Returns:
      bool [B, H, W, C]; B is 1 without a token.
    """
    period, rounds = len(masks), jnp.asarray(masks)
    if token is None:
        return rounds[index % period][None]
    start = jnp.sum(token < 0, axis=-1, keepdims=True, dtype=jnp.int32)
    turn = (index + start) % period
    return jnp.any(
        (turn[None] == jnp.arange(period)[:, None, None, None, None]) & rounds[:, None], 0
    )


def _channels(first):
    """Masks the channel `first` [H, W] of each pixel (modulo 3), then the next two."""
    channel = (first + np.arange(_CHANNELS)[:, None, None]) % _CHANNELS
    return channel[..., None] == np.arange(_CHANNELS)


class Filled(NamedTuple):
    """An image whose masked samples are estimated.

    Attributes:
      image: int32 [B, H, W, C], each masked sample estimated from the others, within 0..255.
      low, high: the same shape, the range of each sample's estimate and its unmasked neighbours in
        the same channel.
    """

    image: jax.Array
    low: jax.Array
    high: jax.Array


def fill(x: jax.Array, mask: jax.Array) -> Filled:
    """Estimates the masked samples from their neighbours and from the pixel's other channels.

    A masked sample is the weighted mean of the unmasked neighbours in its channel, as in normalised
    convolution (Knutsson and Westin 1993). Where a pixel has unmasked channels, most of their
    difference from their own neighbours is added, as in the interpolation of colour filter arrays
    (Hamilton and Adams 1997). Borders are continued by reflection, d c b | a b c d | c b a.

    Args:
      x: int32 [B, H, W, C].
      mask: bool [B or 1, H, W, C], true where the result must not depend on x.

    Returns:
      The estimate, rounded to integers, and the range of the neighbours.
    """
    return fill_inside(_reflect(x), _reflect(mask))


def fill_inside(padded: jax.Array, padded_mask: jax.Array) -> Filled:
    """As `fill`, of images that are continued by a pixel on each side.

    Args:
      padded: int32 [B, H + 2, W + 2, C].
      padded_mask: bool [B or 1, H + 2, W + 2, C].
    """
    padded_known = ~padded_mask
    height, width = (length - 2 * _REACH for length in padded.shape[1:3])
    inside = slice(None), slice(_REACH, _REACH + height), slice(_REACH, _REACH + width)
    x, mask, known = padded[inside], padded_mask[inside], padded_known[inside]
    padded = jnp.where(padded_known, padded, 0)
    low, high = jnp.full_like(x, 256), jnp.full_like(x, -1)
    total, weights = jnp.zeros_like(x), jnp.zeros(known.shape, x.dtype)
    for (i, j), weight in _NEIGHBOURS.items():
        rows = slice(_REACH + i, _REACH + i + height)
        columns = slice(_REACH + j, _REACH + j + width)
        value, is_known = padded[:, rows, columns], padded_known[:, rows, columns]
        total += weight * value
        weights += weight * is_known
        low = jnp.minimum(low, jnp.where(is_known, value, 256))
        high = jnp.maximum(high, jnp.where(is_known, value, -1))
    mean = jnp.where(weights > 0, divide(total, weights), _UNKNOWN)
    detail = jnp.sum(
        jnp.where(known & (weights > 0), x - mean, 0), axis=-1, keepdims=True, dtype=jnp.int32
    )
    channels = jnp.sum(known, axis=-1, keepdims=True, dtype=jnp.int32)
    estimate = jnp.clip(mean + divide(_DETAIL * detail, 16 * channels), 0, 255)
    image = jnp.where(mask, estimate, x)
    return Filled(image, jnp.minimum(low, image), jnp.maximum(high, image))


def _reflect(x):
    """Pads rows and columns; those too short to reflect repeat their border."""
    for axis in (1, 2):
        mode = "reflect" if x.shape[axis] > _REACH else "edge"
        padding = [(_REACH, _REACH) if i == axis else (0, 0) for i in range(4)]
        x = jnp.pad(x, padding, mode=mode)
    return x
