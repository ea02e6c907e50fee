"""Margins and the loss of an ensemble, on toy classifiers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.adversarial.losses import LOSSES, class_permutation, ensemble_loss, margin
from tests.adversarial.toy_classifiers import LABELS, images_of, linear


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("offset", [0.0, -50.0])
def test_margin_is_the_loop(classes, offset):
    rng = np.random.default_rng(classes)
    logits = (rng.normal(size=(20, classes)) + offset).astype(np.float32)
    labels = rng.integers(0, classes, 20)
    expected = [
        row[label] - max(np.delete(row, label)) for row, label in zip(logits, labels, strict=True)
    ]
    np.testing.assert_allclose(margin(logits, labels), expected, rtol=1e-5, atol=1e-6)
    misclassified = np.argmax(logits, axis=-1) != labels
    np.testing.assert_array_equal(np.asarray(margin(logits, labels)) < 0, misclassified)
    goals = class_permutation(classes)[labels]
    np.testing.assert_array_equal(LOSSES["targeted"](logits, labels), -margin(logits, goals))


@pytest.mark.parametrize("others", [2, 4, 9])
def test_the_margin_may_be_to_the_mean_of_several_others(others):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20, 5)).astype(np.float32)
    labels = rng.integers(0, 5, 20)
    expected = [
        row[label] - np.sort(np.delete(row, label))[::-1][:others].mean()
        for row, label in zip(logits, labels, strict=True)
    ]
    np.testing.assert_allclose(margin(logits, labels, others), expected, atol=1e-6)
    goals = class_permutation(5)[labels]
    result = LOSSES["targeted"](logits, labels, others)
    np.testing.assert_array_equal(result, -margin(logits, goals, others))


def test_margin_has_a_finite_gradient():
    logits, labels = jnp.array([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]]), jnp.array([0, 2])
    gradient = jax.grad(lambda z: jnp.sum(margin(z, labels)))(logits)
    np.testing.assert_allclose(gradient, [[1, 0, -1], [0, -1, 1]])


def test_ensemble_loss_is_the_sum_of_softplus():
    nets, images = (linear(0), linear(1), linear(2)), images_of()
    margins = np.array([margin(net(images), LABELS) for net in nets])
    assert np.all(margins.max(0) > -1)
    expected = np.log1p(np.exp(margins + 1)).sum(0)
    np.testing.assert_allclose(ensemble_loss(nets, images, LABELS), expected, rtol=1e-5)


def test_an_ensemble_that_is_misled_by_far_still_has_a_gradient():
    """Where all softplus are flat, the least misled classifier still counts in full."""
    nets, images = (linear(0), linear(1)), images_of()

    def loss(logits, labels):
        return margin(logits, labels) - 1e4

    gradient = jax.grad(lambda x: jnp.sum(ensemble_loss(nets, x, LABELS, loss)))(images)
    assert np.all(np.abs(gradient).max((1, 2, 3)) > 0)


@pytest.mark.parametrize("classes", [2, 7])
def test_the_permutation_is_one_cycle(classes):
    permutation, visited = class_permutation(classes), [0]
    while (following := int(permutation[visited[-1]])) != 0:
        visited.append(following)
    assert sorted(visited) == list(range(classes))
