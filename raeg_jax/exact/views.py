"""Distortions in fixed point: the same bits on every machine, backward too.

Images hold multiples of 1/16 of a pixel value within 0..255. Blurring, resampling and grey multiply
an axis by whole weights, of which those of each result sum up to 2^12: as 16 * 255 * 2^12 is below
2^24, float32 holds every sum, which is then rounded to sixteenths again. Gradients are rounded to
integers of at most 12 bits and multiplied by the transposed weights. Weights follow from integers
too, in NumPy, so that no machine's exponential or division decides where one is rounded.
"""

import decimal
import math

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.exact import integers
from raeg_jax.exact.block_float import PIXEL_PARTS, to_integers
from raeg_jax.exact.fixed_point import SUM_LIMIT
from raeg_jax.image.quantise import straight_through

_WEIGHT_BITS = 12
_WHITE = 255 * PIXEL_PARTS
# Of a Gaussian's numerators. An axis of 2^13 pixels and `_WEIGHT_BITS` more stay within int64.
_GAUSSIAN_BITS = 32
# Of red, green and blue in the luma of ITU-R BT.601, in thousandths.
_LUMA = np.array((299, 587, 114), np.int64)


def gaussian_blur(images: jax.Array, sigma: float) -> jax.Array:
    """As `image.filters.gaussian_blur`.

    Args:
      images: float32 [B, H, W, C], multiples of 1/16, less than 256 in magnitude.
      sigma: standard deviation in pixels, 0 to 100.

    Returns:
      As images.
    """
    kernel = _gaussian(sigma)
    return _map_axes(images, *(_correlation(kernel, size) for size in images.shape[1:3]))


def rescale(images: jax.Array, factor: float) -> jax.Array:
    """As `image.resize.rescale`, but rounded to sixteenths in between.

    Args:
      images: float32 [B, H, W, C], multiples of 1/16 within 0..255.
      factor: size in between as a share of each side.

    Returns:
      As images.
    """
    sides = images.shape[1:3]
    small = [min(max(round(size * factor), 1), size) for size in sides]
    shrunk = _map_axes(images, *map(_resampling, sides, small))
    return _map_axes(shrunk, *map(_resampling, small, sides))


def bit_depth(images: jax.Array, bits: int) -> jax.Array:
    """As `image.filters.bit_depth`; the gradient passes straight through.

    Args:
      images: float32 [B, H, W, C], multiples of 1/16 within 0..255.
      bits: 1 to 8.

    Returns:
      As images: one of 2^bits levels, rounded to sixteenths.
    """
    steps = 2**bits - 1
    level = integers.divide((images * PIXEL_PARTS).astype(jnp.int32) * steps, _WHITE)
    values = integers.divide(level * _WHITE, steps)
    return straight_through(values.astype(jnp.float32) / PIXEL_PARTS, images)


def grey(images: jax.Array) -> jax.Array:
    """As `image.filters.grey`.

    Args:
      images: float32 [B, H, W, 3], multiples of 1/16 within 0..255.

    Returns:
      As images.
    """
    return map_axis(images, whole_weights(np.tile(_LUMA, (3, 1))), 3)


def whole_weights(numerators: np.ndarray) -> np.ndarray:
    """Rounds the weights of linear maps so that those of each result sum up to 2^12 exactly.

    Each differs by less than 1 from its share: their sums from the first one on are rounded.

    Args:
      numerators: int64 [results, size], 0 or more; those of a result below 2^50 together.

    Returns:
      float32 [results, size], whole numbers.
    """
    ends = np.cumsum(numerators, axis=1)
    total = ends[:, -1:]
    rounded = ((ends << _WEIGHT_BITS + 1) + total) // (2 * total)
    return np.diff(rounded, prepend=0, axis=1).astype(np.float32)


def map_axis(x: jax.Array, weights: np.ndarray, axis: int) -> jax.Array:
    """Maps an axis of images, y_i = sum_j weights_ij x_j / 2^12, rounded to sixteenths.

    Args:
      x: float32 [B, H, W, C], multiples of 1/16, less than 256 in magnitude.
      weights: of `whole_weights`, [results, size of the axis].
      axis: 1, 2 or 3.

    Returns:
      As x, with as many results along the axis. So is the gradient, but its unit is a power of two
      for each image, and so that the transposed sums stay below 2^24.
    """
    bits = min(_WEIGHT_BITS, (SUM_LIMIT // int(weights.sum(axis=0).max())).bit_length() - 1)

    # The weights are no residuals, of which a switch between views would have those of all.
    @jax.custom_vjp
    def multiply(x):
        sums = _product(axis, weights, x * PIXEL_PARTS)
        return jnp.round(sums * 2.0**-_WEIGHT_BITS) / PIXEL_PARTS

    def backward(_, g):
        numbers, step = to_integers(g, bits)
        return (_product(axis, weights.T, numbers) * (step * 2.0**-_WEIGHT_BITS),)

    multiply.defvjp(lambda x: (multiply(x), None), backward)
    return multiply(x)


def _product(axis, weights, x):
    subscripts = {1: "ih,bhwc->biwc", 2: "jw,bhwc->bhjc", 3: "kc,bhwc->bhwk"}[axis]
    # Fast matrix units round factors of more than 8 bits.
    return jnp.einsum(subscripts, weights, x, precision=jax.lax.Precision.HIGHEST)


def _map_axes(images, rows, columns):
    return map_axis(map_axis(images, whole_weights(rows), 1), whole_weights(columns), 2)


def _gaussian(sigma):
    """Samples of a Gaussian in 2^-32 of its peak, int64 [2 radius + 1]."""
    radius = max(1, math.ceil(4 * sigma))
    # Rounded correctly, unlike `exp` of floating point.
    with decimal.localcontext(decimal.Context(prec=30)):
        width = 2 * decimal.Decimal(max(sigma, 0.05)) ** 2
        half = [
            int((-(offset**2) / width).exp() * 2**_GAUSSIAN_BITS) for offset in range(radius + 1)
        ]
    return np.array(half[:0:-1] + half, np.int64)


def _correlation(kernel, size):
    """Numerators [size, size] of a correlation with a kernel; borders continue by reflection."""
    source = np.pad(np.arange(size), len(kernel) // 2, mode="symmetric")
    numerators, results = np.zeros((size, size), np.int64), np.arange(size)
    for offset, weight in enumerate(kernel):
        numerators[results, source[offset : offset + size]] += weight
    return numerators


def _resampling(size, target):
    """Numerators [target, size] of `image.resize.resampling_matrix`, of a whole axis."""
    wide = max(size, target)
    centre = (2 * np.arange(target, dtype=np.int64)[:, None] + 1) * size
    pixel = (2 * np.arange(size, dtype=np.int64) + 1) * target
    return np.maximum(2 * wide - np.abs(pixel - centre), 0)
