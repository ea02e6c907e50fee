"""PSNR and SSIM per image, for data in pixel units: the data range is 255.

Reported numbers are taken on uint8 images read back from their files, one value per image, then
averaged. Both metrics also serve as loss terms, on float32.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.image.filters import apply_separable, correlation_matrix, gaussian_kernel
from raeg_jax.image.inputs import as_images

# Stands for the infinite PSNR (dB) of an equal image in means, logs and comparisons.
PSNR_CAP = 100.0
_RANGE = 255.0
# Wang et al. 2004: 11 x 11 Gaussian window of standard deviation 1.5, K1 = 0.01, K2 = 0.03.
_SIGMA, _RADIUS = 1.5, 5
_C1, _C2 = (0.01 * _RANGE) ** 2, (0.03 * _RANGE) ** 2


def mse(a: jax.Array, b: jax.Array) -> jax.Array:
    """Mean squared error of each image.

    Args:
      a: uint8 or float32 [B, H, W, C], in pixel units.
      b: the same shape.

    Returns:
      float32 [B], in squared pixel units.

    Raises:
      ValueError: if the shapes differ or aren't [B, H, W, C], or see `as_images`.
    """
    a, b = _as_floats(a, b)
    return jnp.mean((a - b) ** 2, axis=(1, 2, 3))


def psnr(a: jax.Array, b: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio of each image, 10 log10(255^2 / MSE).

    Args:
      a: uint8 or float32 [B, H, W, C], in pixel units.
      b: the same shape.

    Returns:
      float32 [B], in decibels; infinite (and without a useful gradient) where the images are equal.

    Raises:
      ValueError: if the shapes differ or aren't [B, H, W, C], or see `as_images`.
    """
    return 10.0 * jnp.log10(_RANGE**2 / mse(a, b))


def mse_of_psnr(psnr: float) -> float:
    """The mean squared error (squared pixel units) that gives this PSNR (dB)."""
    return _RANGE**2 / 10 ** (psnr / 10)


def psnr_of_mse(error: float) -> float:
    """The inverse of `mse_of_psnr`: dB, infinite for an error of 0."""
    return 10 * math.log10(_RANGE**2 / error) if error else math.inf


def file_mse(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared error of two 8-bit images, exact and without copies in floats.

    Args:
      a: uint8 [H, W, C].
      b: the same shape.
    """
    difference = np.maximum(a, b) - np.minimum(a, b)
    total = int(np.einsum("ijk,ijk->", difference, difference, dtype=np.int64))
    return total / difference.size


def ssim(a: jax.Array, b: jax.Array) -> jax.Array:
    """Structural similarity of each image (Wang et al. 2004), mean over pixels and channels.

    Equal to scikit-image's `structural_similarity` with `gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=255, channel_axis=-1`: the border of 5 pixels, where
    the window leaves the image, does not count. Differentiable.

    Args:
      a: uint8 or float32 [B, H, W, C], in pixel units, H and W at least 11.
      b: the same shape.

    Returns:
      float32 [B], at most 1.

    Raises:
      ValueError: if the shapes differ, aren't [B, H, W, C] or are smaller than the window.
    """
    a, b = _as_floats(a, b)
    window = 2 * _RADIUS + 1
    if min(a.shape[1:3]) < window:
        raise ValueError(
            f"ssim needs images of at least {window} x {window} pixels, got {a.shape[1:3]}"
        )
    # Variances of numbers around zero lose fewer float32 digits; C1's means are shifted back.
    a, b = a - _RANGE / 2, b - _RANGE / 2
    kernel = gaussian_kernel(_SIGMA, _RADIUS)
    rows, columns = (correlation_matrix(kernel, size) for size in a.shape[1:3])
    mean_a, mean_b, aa, bb, ab = (
        apply_separable(m, rows, columns) for m in (a, b, a * a, b * b, a * b)
    )
    var_a, var_b, cov = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    mean_a, mean_b = mean_a + _RANGE / 2, mean_b + _RANGE / 2
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    structure = (2 * cov + _C2) / (var_a + var_b + _C2)
    return jnp.mean(luminance * structure, axis=(1, 2, 3))


def _as_floats(a, b):
    if a.shape != b.shape or len(a.shape) != 4:
        raise ValueError(f"need two image batches of one shape [B, H, W, C]: {a.shape}, {b.shape}")
    return as_images(a, b)
