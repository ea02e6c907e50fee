"""What the unmasked samples of an image tell about the masked ones: an estimate, and a range.

Everything is computed in integers, so it is the same on every device; nothing depends on the
values of masked samples.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from raeg_jax.image.integers import divide

_REACH = 1
# Weights of the neighbours by squared distance.
_WEIGHTS = {1: 4, 2: 1}
_NEIGHBOURS = {
    (i, j): _WEIGHTS[i * i + j * j]
    for i in range(-_REACH, _REACH + 1)
    for j in range(-_REACH, _REACH + 1)
    if (i, j) != (0, 0)
}
# Share, in sixteenths, of the other channels' detail that a masked sample is given.
_DETAIL = 15
_UNKNOWN = 128


class Filled(NamedTuple):
    """An image that is known everywhere.

    Attributes:
      image: int32 [B, H, W, C], each masked sample estimated from the others, within 0..255.
      low, high: the range, of the same shape, of each sample's estimate and its unmasked neighbours
        in the same channel.
    """

    image: jax.Array
    low: jax.Array
    high: jax.Array


def fill(x: jax.Array, mask: jax.Array) -> Filled:
    """Estimates the masked samples from their neighbours and from the pixel's other channels.

    A masked sample is the weighted mean of the unmasked neighbours in its channel, as in normalised
    convolution (Knutsson and Westin 1993), and, where a pixel has unmasked channels, most of what
    these stand out from their own neighbours, as in the interpolation of colour filter arrays
    (Hamilton and Adams 1997). Borders are continued by reflection, d c b | a b c d | c b a.

    Args:
      x: int32 [B, H, W, C].
      mask: bool [B or 1, H, W, C], true where x must not be looked at.

    Returns:
      The estimate, rounded to integers, and the range of the neighbours.
    """
    known, (_, height, width, _) = ~mask, x.shape
    low, high = jnp.full_like(x, 256), jnp.full_like(x, -1)
    total, weights = jnp.zeros_like(x), jnp.zeros(known.shape, x.dtype)
    padded, padded_known = _reflect(jnp.where(known, x, 0)), _reflect(known)
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
