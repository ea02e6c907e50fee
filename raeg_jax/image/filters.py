"""Linear maps of rows and columns, blurs, sharpening, greyness and bit-depth reduction.

Blurs continue borders by reflection about the edge of the image (d c b a | a b c d | d c b a), as
`scipy.ndimage` does by default.

Gaussian blur, resampling (`image.resize`) and the windowed means of SSIM (`image.metrics`) map rows
and columns by one dense matrix each. That costs more multiplications than a short filter, but
matrix products are what both CPUs and accelerators do best. For 32 images of 64 pixels on two CPU
cores, the gradient of SSIM takes 4 ms this way, and 120 ms or more with convolutions or shifted
sums.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.image.quantise import round_ste

# Weights of red, green and blue in the luma of ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)


def apply_separable(x: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Maps both image axes, y[b, i, j, c] = sum_hw rows[i, h] columns[j, w] x[b, h, w, c].

    Args:
      x: float32 [B, H, W, C].
      rows: float32 [H', H].
      columns: float32 [W', W].

    Returns:
      float32 [B, H', W', C], multiplied in full float32 on every device.
    """
    x = jnp.einsum("ih,bhwc->biwc", rows, x, precision=jax.lax.Precision.HIGHEST)
    return jnp.einsum("jw,biwc->bijc", columns, x, precision=jax.lax.Precision.HIGHEST)


def gaussian_kernel(sigma: jax.Array | float, radius: int) -> jax.Array:
    """Samples a Gaussian at -radius..radius, normalised to sum one.

    Args:
      sigma: standard deviation in pixels, a number or a traced scalar; 0 gives the unit pulse.
      radius: static.

    Returns:
      float32 [2 * radius + 1].
    """
    offsets = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    # Below 0.05 pixels the neighbours' weights are zero in float32 anyway.
    scaled = offsets / jnp.maximum(jnp.asarray(sigma, jnp.float32), 0.05)
    weights = jnp.exp(-0.5 * scaled**2)
    return weights / weights.sum()


def correlation_matrix(kernel: jax.Array, size: int) -> jax.Array:
    """The matrix that correlates an axis with `kernel`, where the kernel fits inside.

    Args:
      kernel: float32 [K].
      size: length of the axis, at least K.

    Returns:
      float32 [size - K + 1, size].
    """
    taps = kernel.shape[0]
    tap = jnp.arange(size) - jnp.arange(size - taps + 1)[:, None]
    inside = (tap >= 0) & (tap < taps)
    return jnp.where(inside, kernel[jnp.clip(tap, 0, taps - 1)], 0.0)


def gaussian_blur(
    x: jax.Array, sigma: jax.Array | float, largest: float | None = None
) -> jax.Array:
    """Blurs with a Gaussian; cutting off its tails loses less than 1e-4 of it.

    Args:
      x: float32 [B, H, W, C].
      sigma: standard deviation in pixels; may be traced, so that one compilation serves a range.
      largest: static, the largest value of a traced sigma; by default sigma itself.

    Returns:
      float32 [B, H, W, C].
    """
    radius = max(1, math.ceil(4 * (sigma if largest is None else largest)))
    kernel = gaussian_kernel(sigma, radius)
    rows, columns = (
        correlation_matrix(kernel, size + 2 * radius) @ _reflection(size, radius)
        for size in x.shape[1:3]
    )
    return apply_separable(x, rows, columns)


def sharpen(x: jax.Array, amount: jax.Array | float) -> jax.Array:
    """Unsharp mask: adds what a Gaussian blur of one pixel takes away, not clipped.

    Args:
      x: float32 [B, H, W, C].
      amount: factor of what is added; may be traced. 0 changes nothing.

    Returns:
      float32 [B, H, W, C].
    """
    return x + amount * (x - gaussian_blur(x, 1.0))


def grey(x: jax.Array) -> jax.Array:
    """Gives all channels the luma of ITU-R BT.601.

    Args:
      x: float32 [B, H, W, 3], red, green and blue.

    Returns:
      float32 [B, H, W, 3], not rounded.
    """
    luma = jnp.matmul(x, jnp.asarray(_LUMA), precision=jax.lax.Precision.HIGHEST)
    return jnp.broadcast_to(luma[..., None], x.shape)


def median_blur(x: jax.Array, size: int = 3) -> jax.Array:
    """Replaces each sample by the median of the size x size window around it.

    The gradient goes to the samples that equal the median, in even shares.

    Args:
      x: float32 [B, H, W, C].
      size: static odd window side, in pixels.

    Returns:
      float32 [B, H, W, C].
    """
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
    # An elementwise sorting network of min and max: 100 times faster on CPUs than `jnp.sort`.
    v, n = list(windows), len(windows)
    for step in range(n):
        for i in range(step % 2, n - 1, 2):
            v[i], v[i + 1] = jnp.minimum(v[i], v[i + 1]), jnp.maximum(v[i], v[i + 1])
    return v[n // 2]
