"""Smoothing filters and bit-depth reduction: what a pirate may do to an image before using it.

Borders are continued by reflection about the edge of the image (d c b a | a b c d | d c b a), as
`scipy.ndimage` does by default.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.image.quantise import round_ste
from raeg_jax.image.separable import apply_separable, correlation_matrix, gaussian_kernel


def gaussian_blur(x: jax.Array, sigma: jax.Array | float, radius: int = 8) -> jax.Array:
    """Blurs with a Gaussian cut off at `radius` pixels.

    Args:
      x: float32 [B, H, W, C].
      sigma: standard deviation in pixels; may be traced, so that one compilation serves a range.
      radius: static; at least four times the largest sigma (`blur_radius`), or tails are missing.

    Returns:
      float32 [B, H, W, C].
    """
    kernel = gaussian_kernel(sigma, radius)
    rows, columns = (
        correlation_matrix(kernel, size + 2 * radius) @ _reflection(size, radius)
        for size in x.shape[1:3]
    )
    return apply_separable(x, rows, columns)


def blur_radius(sigma: float) -> int:
    """The radius at which `gaussian_blur` loses less than 1e-4 of a Gaussian of this `sigma`."""
    return max(1, math.ceil(4 * sigma))


def median_blur(x: jax.Array, size: int = 3) -> jax.Array:
    """Replaces each sample by the median of the size x size window around it.

    The gradient goes to the samples that equal the median, in even shares.

    Args:
      x: float32 [B, H, W, C].
      size: static odd window side, in pixels.

    Returns:
      float32 [B, H, W, C].

    Raises:
      ValueError: if `size` is even or not positive.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"median_blur needs an odd positive size, got {size}")
    return _median_blur(size, x)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _median_blur(size, x):
    return _median(_windows(x, size))


@_median_blur.defjvp
def _median_blur_jvp(size, primals, tangents):
    windows = _windows(primals[0], size)
    median = _median(windows)
    equal = [(window == median).astype(median.dtype) for window in windows]
    share = 1.0 / sum(equal)
    tangent = sum(
        mask * share * t for mask, t in zip(equal, _windows(tangents[0], size), strict=True)
    )
    return median, tangent


def bit_depth(x: jax.Array, bits: jax.Array | int) -> jax.Array:
    """Reduces samples to 2^bits levels, evenly spaced from 0 to 255.

    The feature squeezing of Xu et al. (arXiv 1704.01155), with straight-through gradients.

    Args:
      x: float32, any shape, in pixel units.
      bits: 1 to 8; may be traced.

    Returns:
      float32, same shape: level * 255 / (2^bits - 1), not rounded to integers.
    """
    step = 255.0 / (2.0 ** jnp.asarray(bits, jnp.float32) - 1.0)
    return round_ste(x / step) * step


def _reflection(size, radius):
    """The [size + 2 * radius, size] matrix that continues an axis by reflection."""
    return np.pad(np.eye(size, dtype=np.float32), ((radius, radius), (0, 0)), mode="symmetric")


def _windows(x, size):
    """The size^2 shifted copies of x that hold each window's samples."""
    r = size // 2
    padded = jnp.pad(x, ((0, 0), (r, r), (r, r), (0, 0)), mode="symmetric")
    _, H, W, _ = x.shape
    return [padded[:, i : i + H, j : j + W] for i in range(size) for j in range(size)]


def _median(windows):
    """Sorts elementwise by a network of min and max: 100 times faster on CPUs than `jnp.sort`."""
    v, n = list(windows), len(windows)
    for step in range(n):
        for i in range(step % 2, n - 1, 2):
            v[i], v[i + 1] = jnp.minimum(v[i], v[i + 1]), jnp.maximum(v[i], v[i + 1])
    return v[n // 2]
