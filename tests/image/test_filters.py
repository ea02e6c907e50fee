"""Linear maps, blurs, sharpening, greyness and bit depth against NumPy, SciPy and others."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import skimage.color
import skimage.data
import skimage.filters

from raeg_jax.image import filters

# Sigma is traced: one compilation serves all.
gaussian_blur = jax.jit(filters.gaussian_blur, static_argnums=2)
median_blur = jax.jit(filters.median_blur, static_argnums=1)


@pytest.fixture(scope="module")
def photograph():
    return skimage.data.astronaut()[None, 100:131, 200:248].astype(np.float32)


def test_apply_separable_agrees_with_numpy():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (2, 5, 7, 3)).astype(np.float32)
    rows, columns = rng.standard_normal((4, 5)), rng.standard_normal((9, 7))
    expected = np.einsum("ih,jw,bhwc->bijc", rows, columns, x)
    y = filters.apply_separable(jnp.asarray(x), jnp.float32(rows), jnp.float32(columns))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("taps", [1, 3, 5])
def test_correlation_matrix_agrees_with_numpy(taps):
    kernel = np.arange(1.0, taps + 1)
    line = np.random.default_rng(0).standard_normal(8)
    matrix = filters.correlation_matrix(jnp.float32(kernel), 8)
    np.testing.assert_allclose(matrix @ line, np.correlate(line, kernel, "valid"), atol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 0.3, 0.8, 1.5, 3.0])
def test_gaussian_blur_agrees_with_scipy(photograph, sigma):
    expected = scipy.ndimage.gaussian_filter(
        photograph.astype(np.float64), sigma, axes=(1, 2), radius=max(1, math.ceil(4 * sigma))
    )
    np.testing.assert_allclose(gaussian_blur(photograph, sigma, sigma), expected, atol=1e-3)


def test_the_tails_are_negligible(photograph):
    for sigma in (0.5, 1.5, 4.0):
        short = gaussian_blur(photograph, sigma, sigma)
        long = gaussian_blur(photograph, sigma, 10.0)
        np.testing.assert_allclose(short, long, atol=0.05)


@pytest.mark.parametrize("amount", [0.0, 0.5, 1.5])
def test_sharpening_is_the_unsharp_mask_of_scikit_image(photograph, amount):
    sharpened = np.asarray(jax.jit(filters.sharpen)(photograph, amount))
    for channel in range(3):
        plane = photograph[0, ..., channel].astype(np.float64)
        expected = skimage.filters.unsharp_mask(plane, 1.0, amount, preserve_range=True)
        np.testing.assert_allclose(sharpened[0, ..., channel], expected, atol=2e-3)


def test_grey_has_the_luma_of_scikit_image(photograph):
    luma = skimage.color.rgb2yiq(photograph.astype(np.float64))[..., :1]
    grey = np.asarray(filters.grey(photograph))
    np.testing.assert_allclose(grey, np.broadcast_to(luma, grey.shape), atol=1e-3)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_median_blur_agrees_with_scipy(photograph, size):
    expected = scipy.ndimage.median_filter(photograph, (1, size, size, 1))
    np.testing.assert_array_equal(median_blur(photograph, size), expected)


def test_median_gradient_goes_to_the_median():
    x = jnp.float32(np.random.default_rng(0).permutation(49).reshape(1, 7, 7, 1))
    gradient = jax.grad(lambda x: median_blur(x, 3)[0, 3, 3, 0])(x)
    expected = np.zeros(x.shape, np.float32)
    window = np.asarray(x[0, 2:5, 2:5, 0])
    expected[0, 2:5, 2:5, 0] = window == np.median(window)
    np.testing.assert_array_equal(gradient, expected)


def test_median_gradient_is_shared_by_equals():
    flat = jnp.full((1, 7, 7, 1), 9.0)
    gradient = jax.grad(lambda x: median_blur(x, 3)[0, 3, 3, 0])(flat)
    np.testing.assert_allclose(gradient[0, 2:5, 2:5, 0], 1 / 9, rtol=1e-6)
    # Reflection gives all of the gradient back to the image, at borders too.
    whole = jax.grad(lambda x: median_blur(x, 3).sum())(flat)
    np.testing.assert_allclose(whole.sum(), 49, rtol=1e-6)


@pytest.mark.parametrize("bits", range(1, 9))
def test_bit_depth(photograph, bits):
    y = np.asarray(jax.jit(filters.bit_depth)(photograph, bits))
    levels = np.linspace(0, 255, 2**bits)
    nearest = np.abs(photograph[..., None] - levels).min(-1)
    np.testing.assert_allclose(np.abs(y - photograph), nearest, atol=1e-3)
    np.testing.assert_allclose(np.abs(y[..., None] - levels).min(-1), 0, atol=1e-3)
    if bits == 8:
        np.testing.assert_array_equal(y, photograph)


def test_bit_depth_gradient_passes_straight_through(photograph):
    weights = jnp.arange(photograph.size, dtype=jnp.float32).reshape(photograph.shape)
    gradient = jax.grad(lambda x: (weights * filters.bit_depth(x, 3)).sum())(photograph)
    np.testing.assert_allclose(gradient, weights, rtol=1e-5)


@pytest.mark.parametrize(
    "blur", [lambda x: gaussian_blur(x, 1.5, 1.5), median_blur], ids=["gauss", "median"]
)
def test_images_smaller_than_the_window(blur):
    x = jnp.float32(np.random.default_rng(0).integers(0, 256, (2, 2, 1, 3)))
    y = blur(x)
    assert y.shape == x.shape
    assert (y >= x.min()).all()
    assert (y <= x.max() + 1e-3).all()
