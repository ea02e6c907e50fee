"""Integer roots and means against Python's own integers."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.exact import integers


def test_division_is_to_the_nearest_with_halves_up():
    a = np.int32([7, -7, 5, -5, 2**30 - 1, -(2**30) + 1, 9])
    b = np.int32([2, 2, 3, 3, 1, 1, 0])
    expected = [4, -3, 2, -2, 2**30 - 1, -(2**30) + 1, 9]
    np.testing.assert_array_equal(integers.divide(a, b), expected)


def test_roots_are_rounded_down():
    x = [0, 1, 2, 3, 4, 15, 16, 17, 2**30 - 1, 32767**2, 32767**2 - 1]
    result = integers.isqrt(jnp.array(x, jnp.uint32))
    np.testing.assert_array_equal(result, [math.isqrt(n) for n in x])


@pytest.mark.parametrize("shape", [(3, 1, 1, 1), (2, 7, 5, 3), (1, 2, 40_000, 3)])
@pytest.mark.parametrize("peak", [1, 200, integers.LIMIT])
def test_rms_is_that_of_wide_integers(shape, peak):
    x = np.random.RandomState(0).randint(-peak, peak + 1, shape)
    x[0] = peak
    rows = (np.int64(x) ** 2 * 64).sum((2, 3)) // (shape[2] * shape[3])
    expected = [math.isqrt(n) for n in rows.sum(1) // shape[1]]
    result = np.asarray(integers.rms(jnp.asarray(x, jnp.int32)))
    np.testing.assert_array_equal(result[:, 0, 0, 0], expected)
    assert result[0, 0, 0, 0] == 8 * peak


@pytest.mark.parametrize("target", [8.0, 1000.0])
def test_directions_get_the_target_rms(target):
    x = np.random.RandomState(0).randint(-4095, 4096, (2, 16, 16, 3)).astype(np.int32)
    x[1] //= 100
    scaled = np.asarray(integers.to_rms(x, jnp.int32(8 * target)))
    reached = np.sqrt(np.mean(np.float64(scaled) ** 2, axis=(1, 2, 3)))
    # Measured to an eighth: half a percent of 24.
    np.testing.assert_allclose(reached, target, rtol=0.006)
    np.testing.assert_array_equal(integers.to_rms(0 * x, jnp.int32(8)), 0 * x)
