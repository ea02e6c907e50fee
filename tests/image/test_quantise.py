"""Rounding and clipping: exact forward, straight through backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.image import quantise

# Ties, values outside the range, tiny values, and values of a network that has diverged.
SAMPLES = np.concatenate(
    [
        np.float32([0, 0.49999997, 0.5, 1.5, 2.5, 254.5, 254.6, 255, 255.5, 256, 300.7]),
        np.float32([-0.5, -0.2, -3.5, -1e-9, 1e-30, 8388607.5, -4e6, 1e6, 3.1e8, -7e9]),
    ]
)
# Name -> (function, the same in NumPy).
ROUNDINGS = {
    "round_ste": (quantise.round_ste, np.round),
    "clip_ste": (quantise.clip_ste, lambda x: np.clip(x, 0, 255)),
    "quantise": (quantise.quantise, lambda x: np.clip(np.round(x), 0, 255)),
}


@pytest.mark.parametrize("name", ROUNDINGS)
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_forward_is_exact(name, transform):
    function, oracle = ROUNDINGS[name]
    many = np.random.default_rng(0).uniform(-50, 300, 10_000).astype(np.float32)
    for x in (SAMPLES, many):
        y = transform(function)(x)
        assert y.dtype == jnp.float32
        np.testing.assert_array_equal(y, oracle(x))


@pytest.mark.parametrize("name", ROUNDINGS)
def test_gradient_is_that_of_the_identity(name):
    function, _ = ROUNDINGS[name]
    weights = np.arange(1, SAMPLES.size + 1, dtype=np.float32)
    gradient = jax.jit(jax.grad(lambda x: (weights * function(x)).sum()))(SAMPLES)
    np.testing.assert_array_equal(gradient, weights)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_to_uint8_rounds_and_does_not_wrap_around(transform):
    y = transform(quantise.to_uint8)(SAMPLES)
    assert y.dtype == jnp.uint8
    np.testing.assert_array_equal(y, np.clip(np.round(SAMPLES), 0, 255).astype(np.uint8))
    np.testing.assert_array_equal(y, quantise.quantise(SAMPLES))
