"""PSNR and SSIM against scikit-image."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
import skimage.metrics

from raeg_jax.image import metrics

NOISE = (0.5, 3.0, 30.0)
skimage_ssim = functools.partial(
    skimage.metrics.structural_similarity, gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=255, channel_axis=-1,
)  # fmt: skip
METRICS = (metrics.mse, metrics.psnr, metrics.ssim)
psnr, ssim = jax.jit(metrics.psnr), jax.jit(metrics.ssim)


def pairs(size, noise):
    """Two uint8 batches: crops of photographs, and the same with noise."""
    a = np.stack([skimage.data.astronaut()[: size[0], : size[1]]] * 2)
    a[1] = skimage.data.coffee()[100 : 100 + size[0], 200 : 200 + size[1]]
    rng = np.random.default_rng(0)
    b = a + noise * rng.standard_normal(a.shape)
    return a, np.clip(np.round(b), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("noise", NOISE)
def test_psnr_agrees_with_skimage(noise):
    a, b = pairs((48, 64), noise)
    expected = [skimage.metrics.peak_signal_noise_ratio(*ab) for ab in zip(a, b, strict=True)]
    np.testing.assert_allclose(psnr(a, b), expected, atol=1e-3)


def test_file_mse_agrees_with_skimage():
    a, b = pairs((48, 64), 20)
    expected = skimage.metrics.mean_squared_error(a[0], b[0])
    np.testing.assert_allclose(metrics.file_mse(a[0], b[0]), expected, rtol=1e-12)
    found = metrics.psnr_of_mse(metrics.file_mse(a[0], b[0]))
    np.testing.assert_allclose(found, skimage.metrics.peak_signal_noise_ratio(a[0], b[0]))
    assert metrics.psnr_of_mse(metrics.file_mse(a[0], a[0])) == np.inf


@pytest.mark.parametrize("decibels", [10.0, 34.0, 51.5])
def test_mse_of_psnr_undoes_psnr(decibels):
    a = np.full((1, 12, 12, 3), 80, np.float32)
    b = a + np.float32(np.sqrt(metrics.mse_of_psnr(decibels)))
    np.testing.assert_allclose(psnr(a, b), [decibels], atol=1e-3)
    np.testing.assert_allclose(metrics.mse_of_psnr(20), 25.5**2)


@pytest.mark.parametrize("size", [(11, 11), (12, 31), (64, 48)])
@pytest.mark.parametrize("noise", NOISE)
def test_ssim_agrees_with_skimage(size, noise):
    a, b = pairs(size, noise)
    expected = [skimage_ssim(*ab) for ab in zip(a, b, strict=True)]
    np.testing.assert_allclose(ssim(a, b), expected, atol=2e-5)


def test_ssim_is_accurate_on_saturated_flat_images():
    """There float32 variances would vanish beside the squared mean."""
    a = np.full((1, 32, 32, 3), 254, np.uint8)
    b = a.copy()
    b[:, ::2] += 1
    np.testing.assert_allclose(ssim(a, b), [skimage_ssim(a[0], b[0])], atol=1e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_uint8_and_float_agree_without_wrapping_around(metric):
    a, b = pairs((16, 16), 30.0)
    metric = jax.jit(metric)
    floats = metric(jnp.float32(a), jnp.float32(b))
    np.testing.assert_array_equal(metric(a, b), floats)
    np.testing.assert_array_equal(metric(jnp.asarray(b), jnp.asarray(a)), metric(b, a))
    assert floats.shape == (2,)
    assert floats.dtype == jnp.float32


@pytest.mark.parametrize("metric", METRICS)
def test_images_of_a_batch_do_not_mix(metric):
    a, b = pairs((16, 16), 3.0)
    alone = np.concatenate([metric(a[i : i + 1], b[i : i + 1]) for i in range(2)])
    np.testing.assert_allclose(metric(a, b), alone, rtol=1e-6)


def test_equal_images():
    a, _ = pairs((16, 16), 0.0)
    assert np.isposinf(metrics.psnr(a, a)).all()
    np.testing.assert_allclose(ssim(a, a), 1.0, atol=1e-6)
    np.testing.assert_array_equal(metrics.mse(a, a), 0.0)


@pytest.mark.parametrize("metric", METRICS)
def test_gradient_agrees_with_differences(metric):
    a, b = (jnp.float32(v) for v in pairs((16, 16), 8.0))
    direction = jnp.float32(np.random.default_rng(1).standard_normal(a.shape))
    total = jax.jit(lambda b: metric(a, b).sum())
    _, slope = jax.jvp(total, (b,), (direction,))
    gradient = jax.grad(total)(b)
    step = 0.5
    difference = (total(b + step * direction) - total(b - step * direction)) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-2)
    np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-4)


def test_ssim_gradient_is_finite_on_equal_and_flat_images():
    for image in (pairs((16, 16), 0.0)[0], np.zeros((1, 16, 16, 3))):
        image = jnp.float32(image)
        gradient = jax.grad(lambda b, a=image: ssim(a, b).sum())(image)
        assert np.isfinite(gradient).all()


def test_too_small_for_the_window():
    a = np.zeros((1, 10, 64, 3), np.uint8)
    with pytest.raises(ValueError, match=r"at least 11 x 11 pixels, got \(10, 64\)"):
        metrics.ssim(a, a)
    assert np.isposinf(metrics.psnr(a, a)).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", [(2, 16, 15, 3), (1, 16, 16, 3), (16, 16, 3)])
def test_wrong_shapes(metric, shape):
    a = np.zeros((2, 16, 16, 3), np.uint8)
    with pytest.raises(ValueError, match="one shape"):
        metric(a, np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="one shape"):
        metric(a[0], a[0])
