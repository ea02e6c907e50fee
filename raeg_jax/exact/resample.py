"""Resizing parts of images with integer weights, the same on every machine, with its gradient.

Both axes are resized one after the other, by matrices that depend on the part: so one program
resizes parts of any size. Weights are those of a triangle as wide as the step between two results,
which averages where a part is reduced and interpolates linearly where it is enlarged, as Pillow's
bilinear resizing does, in whole 128ths.
"""

import jax
import jax.numpy as jnp

from raeg_jax.exact.block_float import PIXEL_PARTS, to_integers
from raeg_jax.exact.fixed_point import SUM_LIMIT
from raeg_jax.exact.integers import divide

# Fractions of 1 in a weight, and of a pixel in where a part begins and how long it is.
_WEIGHT_PARTS = 128
BOX_PARTS = 16
_EXACT = jax.lax.Precision.HIGHEST
# Of gradients, whose sums stay below 2^24 with 8 bits up to 514 results of 128 x 255 each.
_GRADIENT_BITS = 8


def weights(
    start: jax.Array, length: jax.Array, limit: jax.Array, count: int, size: int
) -> jax.Array:
    """The weights of resizing a part of an axis.

    The height of a result's triangle over each pixel, where its slopes are 1, is rounded down to a
    multiple of 1 / (2 count) of a pixel. The shares that all heights up to a pixel have in their
    sum are rounded to 128ths; the weights are their differences.

    Args:
      start: int32 [B], where the part begins, in sixteenths of a pixel.
      length: int32 [B], of the part, in sixteenths of a pixel, at least 1.
      limit: int32 [B], number of pixels that the axis has; later ones have weight 0.
      count: number of results.
      size: number of pixels of the axis with all that follow, at most 2^10.

    Returns:
      float32 [B, count, size], whole numbers from 0 to 128, each row with the sum 128.
    """
    start, length, limit = (x[:, None, None] for x in (start, length, limit))
    results, pixels = jnp.arange(count)[:, None], jnp.arange(size)
    # All in 1 / (2 count) of a sixteenth.
    centres = 2 * count * start + (2 * results + 1) * length
    distance = jnp.abs(centres - (2 * pixels + 1) * (BOX_PARTS * count))
    height = jnp.maximum(2 * jnp.maximum(BOX_PARTS * count, length) - distance, 0)
    # More digits would not fit.
    height = jnp.where(pixels < limit, height // 16, 0)
    return whole_shares(height, _WEIGHT_PARTS)


def whole_shares(heights: jax.Array, parts: int) -> jax.Array:
    """Weights in proportion to heights, whole numbers with a given sum.

    The shares that all heights up to one have in their sum are rounded; the weights are their
    differences.

    Args:
      heights: int32 [..., n], none negative, not all 0; `parts` times their sum fits 30 bits.
      parts: the sum of the weights.

    Returns:
      float32 [..., n].
    """
    total = jnp.cumsum(heights, axis=-1)
    share = divide(parts * total, total[..., -1:])
    return jnp.diff(share, axis=-1, prepend=0).astype(jnp.float32)


def resize(images: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Resizes whole images.

    Args:
      images: float32 [B, H, W, 3], multiples of 1/16 within 0..255; sides of at most 2^10 pixels.
      shape: height and width of the result.

    Returns:
      float32 [B, *shape, 3], as of `resample`.
    """

    def matrix(size: int, count: int) -> jax.Array:
        start, length, limit = (jnp.full(len(images), n) for n in (0, BOX_PARTS * size, size))
        return weights(start, length, limit, count, size)

    rows, columns = map(matrix, images.shape[1:3], shape)
    return resample(images, rows, columns)


@jax.custom_vjp
def resample(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Resizes images by `weights` of both axes.

    Args:
      images: float32 [B, H, W, 3], multiples of 1/16 within 0..255.
      rows: float32 [B, h, H].
      columns: float32 [B, w, W].

    Returns:
      float32 [B, h, w, 3], multiples of 1/16 within 0..255, rounded after each axis, halves to
      even. Gradients are rounded to integers of 8 bits (less beyond 514 results) times a power of
      two for each image, before each sum.
    """
    x = images * PIXEL_PARTS
    x = jnp.round(_rows(rows, x) / _WEIGHT_PARTS)
    x = jnp.round(_columns(columns, x) / _WEIGHT_PARTS)
    return x / PIXEL_PARTS


def _backward(saved, gradient):
    rows, columns = saved
    numbers, step = to_integers(gradient, _bits(columns))
    sums = _columns(columns.swapaxes(1, 2), numbers)
    numbers, more = to_integers(sums, _bits(rows))
    sums = _rows(rows.swapaxes(1, 2), numbers)
    return sums * (step * more / _WEIGHT_PARTS**2), None, None


resample.defvjp(
    lambda images, rows, columns: (resample(images, rows, columns), (rows, columns)), _backward
)


def _bits(matrix):
    """Of the gradient, with which even the sum of all results for one pixel is exact."""
    most = SUM_LIMIT // (_WEIGHT_PARTS * matrix.shape[1])
    return min(_GRADIENT_BITS, (most + 1).bit_length() - 1)


def _rows(matrix, x):
    B, height, *rest = x.shape
    product = jnp.matmul(matrix, x.reshape(B, height, -1), precision=_EXACT)
    return product.reshape(B, -1, *rest)


def _columns(matrix, x):
    return jnp.einsum("bjw,bhwc->bhjc", matrix, x, precision=_EXACT)
