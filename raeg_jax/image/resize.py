"""Resampling with sizes that may be traced: one compilation serves every scale and crop.

Shapes stay static. A smaller image is at the top left of a canvas of full size, and the resampling
matrix of each axis depends on how much of the canvas is used. Weights are those of Pillow's
BILINEAR: a triangle, widened when shrinking (antialiasing), normalised over the pixels that exist.
"""

import jax
import jax.numpy as jnp

from raeg_jax.image.filters import apply_separable


def resampling_matrix(
    size: int,
    start: jax.Array | int,
    source: jax.Array | int,
    target: jax.Array | int,
    length: int | None = None,
) -> jax.Array:
    """Resamples the pixels [start, start + source) of an axis to `target` pixels.

    Args:
      size: static length of the axis before; at least start + source.
      start: first pixel read; may be traced, like `source` and `target`.
      source: number of pixels read.
      target: number of pixels wanted; matrix rows after the first `target` are meaningless.
      length: static length of the axis after, at least `target`; `size` by default.

    Returns:
      float32 [length, size]; the first `target` rows sum to one.
    """
    source = jnp.asarray(source, jnp.float32)
    scale = source / target
    pixel = jnp.arange(size, dtype=jnp.float32) + 0.5
    centre = start + (jnp.arange(length or size, dtype=jnp.float32) + 0.5) * scale
    weight = 1.0 - jnp.abs(pixel - centre[:, None]) / jnp.maximum(scale, 1.0)
    exists = (pixel > start) & (pixel < start + source)
    weight = jnp.where(exists, jnp.maximum(weight, 0.0), 0.0)
    return weight / jnp.maximum(weight.sum(1, keepdims=True), 1e-6)


def rescale(x: jax.Array, factor: jax.Array | float) -> jax.Array:
    """Shrinks images and enlarges them again; nothing is rounded in between.

    Args:
      x: float32 [B, H, W, C].
      factor: size in between as a share of each side, rounded to whole pixels and held between one
        pixel and the full side; may be traced.

    Returns:
      float32 [B, H, W, C].
    """
    rows, columns = (_rescaling_matrix(size, factor) for size in x.shape[1:3])
    return apply_separable(x, rows, columns)


def crop_resize(
    x: jax.Array,
    top: jax.Array | int,
    left: jax.Array | int,
    height: jax.Array | int,
    width: jax.Array | int,
    shape: tuple[int, int] | None = None,
) -> jax.Array:
    """Cuts out a rectangle and resizes it.

    Args:
      x: float32 [B, H, W, C].
      top: first row of the rectangle, in whole pixels; may be traced, like the other three.
      left: its first column.
      height: its number of rows, 1 to H - top.
      width: its number of columns, 1 to W - left.
      shape: static height and width of the result, H and W by default.

    Returns:
      float32 [B, *shape, C].
    """
    _, H, W, _ = x.shape
    rows, columns = shape or (H, W)
    return apply_separable(
        x,
        resampling_matrix(H, top, height, rows, rows),
        resampling_matrix(W, left, width, columns, columns),
    )


def _rescaling_matrix(size, factor):
    small = jnp.clip(jnp.round(size * jnp.asarray(factor, jnp.float32)), 1, size)
    shrink = resampling_matrix(size, 0, size, small)
    enlarge = resampling_matrix(size, 0, small, size)
    return jnp.matmul(enlarge, shrink, precision=jax.lax.Precision.HIGHEST)
