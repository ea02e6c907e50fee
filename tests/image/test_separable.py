"""Linear maps of rows and columns, against NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.image import separable


def test_apply_separable_agrees_with_numpy():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (2, 5, 7, 3)).astype(np.float32)
    rows, columns = rng.standard_normal((4, 5)), rng.standard_normal((9, 7))
    expected = np.einsum("ih,jw,bhwc->bijc", rows, columns, x)
    y = separable.apply_separable(jnp.asarray(x), jnp.float32(rows), jnp.float32(columns))
    assert y.shape == (2, 4, 9, 3)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("taps", [1, 3, 5])
def test_correlation_matrix_agrees_with_numpy(taps):
    kernel = np.arange(1.0, taps + 1)
    line = np.random.default_rng(0).standard_normal(8)
    matrix = separable.correlation_matrix(jnp.float32(kernel), 8)
    np.testing.assert_allclose(matrix @ line, np.correlate(line, kernel, "valid"), atol=1e-5)


def test_gaussian_kernel():
    kernel = np.asarray(separable.gaussian_kernel(1.5, 5))
    expected = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 1e-6])
def test_gaussian_kernel_without_width_is_a_pulse(sigma):
    np.testing.assert_array_equal(separable.gaussian_kernel(sigma, 2), [0, 0, 1, 0, 0])
