"""Every registered mixing: inverse, and the positions that stay unmixed."""

import jax
import numpy as np
import pytest

from raeg_jax.generator.mixing import MIXINGS, MOST_LOG_SCALE, ActNorm, Permutation, Rotation


def mixing_variables(mixing, x):
    variables = mixing.init(jax.random.key(1), x, method="forward")
    return jax.tree.map(lambda p: p + 0.3 * np.random.RandomState(0).randn(*p.shape), variables)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", MIXINGS)
def test_inverse_undoes_mixing(name, jit):
    mixing = MIXINGS[name](12, index=3)
    x = np.random.RandomState(0).uniform(0, 255, (2, 3, 5, 12)).astype(np.float32)
    variables = mixing_variables(mixing, x)
    wrap = jax.jit if jit else lambda f: f
    y = wrap(lambda v: mixing.apply(variables, v, method="forward"))(x)
    x_rec = wrap(lambda v: mixing.apply(variables, v, method="inverse"))(y)
    assert (np.abs(y - x).max() > 1) == (name != "none")
    np.testing.assert_allclose(x_rec, x, atol=0 if mixing.exact else 1e-3)


def test_conv1x1_is_the_product_of_its_factors():
    mixing = MIXINGS["conv1x1"](4, index=0)
    identity = np.eye(4, dtype=np.float32).reshape(1, 2, 2, 4)
    variables = mixing_variables(mixing, identity)
    matrix = np.asarray(mixing.apply(variables, identity, method="forward")).reshape(4, 4).T
    p = variables["params"]
    lower = np.tril(p["lower"], -1) + np.eye(4)
    upper = np.triu(p["upper"], 1) + np.diag(np.exp(np.tanh(p["log_diagonal"])))
    order = np.random.RandomState(0).permutation(4)
    np.testing.assert_allclose(matrix, (lower @ upper)[order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["rotation", "conv1x1"])
def test_positions_with_missing_channels_stay_unmixed(name):
    mixing = MIXINGS[name](4, index=0)
    x = np.random.RandomState(0).uniform(0, 255, (1, 2, 2, 4)).astype(np.float32)
    mask = np.ones((1, 2, 2, 4), np.float32)
    mask[0, 1, 1, 3] = 0
    y = mixing.apply(mixing_variables(mixing, x), x, mask, method="forward")
    np.testing.assert_array_equal(y[0, 1, 1], x[0, 1, 1])
    assert np.abs(y[0, 0, 0] - x[0, 0, 0]).max() > 1


def test_permutations_never_change():
    # Golden values: protected files of earlier versions depend on them.
    x = np.arange(12, dtype=np.float32)
    y = Permutation(12, index=5).apply({}, x, method="forward")
    np.testing.assert_array_equal(y, [7, 5, 2, 9, 11, 4, 8, 1, 0, 10, 6, 3])


def test_rotations_never_change():
    matrix = Rotation(12, index=5).matrix()
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(12), atol=1e-6)
    assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-5)
    # Golden values: protected files of earlier versions depend on them.
    np.testing.assert_allclose(matrix[0, :3], [0.1395228, -0.1457505, 0.6987985], atol=1e-6)


def bands(shape=(8, 6, 5, 4)):
    """Coefficients of different sizes, as a wavelet has them."""
    random = np.random.RandomState(0)
    return (random.randn(*shape) * (30, 5, 8, 2) + (120, 0, 1, 0)).astype(np.float32)


def test_actnorm_starts_from_the_statistics_of_the_first_images():
    mixing, x = ActNorm(4, index=0), bands()
    variables = mixing.init(jax.random.key(0), x, method="forward")
    y = mixing.apply(variables, x, method="forward")
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-3)
    std = x.std((0, 1, 2))
    np.testing.assert_allclose(y.std((0, 1, 2)), np.exp(np.log(std).mean()), rtol=1e-3)


def test_actnorm_starts_from_the_identity_without_images_and_stays_well_conditioned():
    mixing, x = ActNorm(4, index=0), bands()
    variables = mixing.init(jax.random.key(0), 0 * x, method="forward")
    np.testing.assert_array_equal(mixing.apply(variables, x, method="forward"), x)
    variables = jax.tree.map(lambda p: p + 100, variables)
    scale = np.diff(mixing.apply(variables, np.stack([x, x + 1]), method="forward"), axis=0)
    np.testing.assert_allclose(scale, np.exp(MOST_LOG_SCALE), rtol=2e-3)


def test_actnorm_leaves_missing_channels_as_they_are():
    mixing, x = ActNorm(4, index=0), bands((1, 2, 2, 4))
    mask = np.ones((1, 2, 2, 4), np.float32)
    mask[0, 1, 1, 3] = 0
    y = mixing.apply(mixing_variables(mixing, x), x, mask, method="forward")
    assert y[0, 1, 1, 3] == x[0, 1, 1, 3]
    assert np.all(y[0, 1, 1, :3] != x[0, 1, 1, :3])
