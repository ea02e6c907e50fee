"""Every registered mixing: inverse, and the positions that stay unmixed."""

import jax
import numpy as np
import pytest

from raeg_jax.generator.mixing import MIXINGS, Permutation


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
    np.testing.assert_allclose(x_rec, x, atol=1e-3 if name == "conv1x1" else 0)


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


def test_conv1x1_leaves_positions_with_missing_channels_unchanged():
    mixing = MIXINGS["conv1x1"](4, index=0)
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
