"""The loss of guides in fixed point: margins, weights of classifiers and sums of directions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.adversarial.losses import LOSSES, margin
from raeg_jax.generator.fixed_descent import (
    add_directions,
    classifier_weights,
    fixed_descent,
    fixed_margin,
)

LABELS = np.int32([1, 0, 3])
lead = jax.jit(fixed_margin, static_argnums=2)


def test_weights_follow_the_logistic_function_and_the_least_misled_counts():
    values = np.int32([[64, 0, -10_000], [0, 0, -9_900], [-64, -640, -20_000]])
    result = jax.jit(classifier_weights)(values)
    np.testing.assert_array_equal(result, [[12, 8, 2], [8, 8, 8], [4, 1, 1]])


def test_the_margin_is_that_to_the_best_other_class():
    value, gradient = lead(np.int32([[5, 9, 7], [5, 9, 9]]), np.int32([1, 0]))
    np.testing.assert_array_equal(value, [2, -4])
    np.testing.assert_array_equal(gradient, [[0, 1, -1], [1, -1, 0]])


def test_of_equal_others_the_first_ones_count():
    value, gradient = lead(np.int32([[5, 9, 9, 9, 5]]), np.int32([0]), 2)
    np.testing.assert_array_equal(value, [-4])
    np.testing.assert_array_equal(gradient, [[2, -1, -1, 0, 0]])


@pytest.mark.parametrize("others", [1, 3, 6, 50])
def test_it_is_the_margin_in_floating_point(others):
    logits = np.random.RandomState(0).randint(-900, 900, (3, 7)).astype(np.int32)
    value, gradient = lead(logits, LABELS, others)
    floats = np.float32(logits)
    np.testing.assert_allclose(value, margin(floats, LABELS, others), atol=0.5 + 1e-3)
    expected = jax.jit(jax.grad(lambda z: jnp.sum(margin(z, LABELS, others))))(floats)
    np.testing.assert_allclose(gradient / min(others, 6), expected, atol=1e-6)


def test_impossibly_large_logits_overflow_nothing():
    logits = np.full((1, 1000), -(2**24), np.int32)
    logits[0, 3] = 2**24
    value, gradient = lead(logits, np.int32([3]), 999)
    assert value[0] > 2**19
    assert gradient.min() == -1


@pytest.mark.parametrize("loss", LOSSES)
def test_classifiers_may_be_any_exact_functions(loss):
    """Of whole numbers: their sums are exact."""
    random = np.random.RandomState(0)
    x = random.randint(0, 256, (3, 4, 4, 3)).astype(np.float32)
    weights = random.randint(-3, 4, (2, 48, 6)).astype(np.float32)

    functions = [lambda x, w=w: x.reshape(3, -1) @ w / 64 for w in weights]

    def slope(function):
        return jax.jit(jax.grad(lambda x: jnp.sum(LOSSES[loss](function(x), LABELS, 2))))(x)

    # A large kappa: both count in full, whatever their losses.
    settings = {"loss": loss, "kappa": 1e4, "others": 2}
    result = jax.jit(lambda x: fixed_descent(functions, x, LABELS, **settings))(x)
    gradients = np.stack([slope(function) for function in functions])
    # Both are rounded to 11 bits, in the unit of the larger one.
    peak = np.abs(gradients).max((0, 2, 3, 4))
    unit = 2 ** np.floor(np.log2(peak)) / 2**10
    np.testing.assert_allclose(result, -sum(gradients) / unit[:, None, None, None], atol=1.01)


def test_directions_add_up_on_one_grid_within_the_limit():
    arrays = [np.full((2, 1, 1, 1), value, np.float32) for value in (3.0, -1.5, 1e-20)]
    arrays[0][1] = 0
    result = np.asarray(add_directions(arrays)).ravel()
    np.testing.assert_array_equal(result, [768 - 384, -768])
