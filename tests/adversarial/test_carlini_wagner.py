"""Carlini and Wagner's attack, against foolbox's and against a known smallest perturbation."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.adversarial.carlini_wagner import carlini_wagner
from raeg_jax.adversarial.losses import margin
from tests.adversarial.toy_classifiers import distance

with warnings.catch_warnings():
    # It imports a deprecated name of SciPy.
    warnings.simplefilter("ignore")
    from foolbox import JAXModel
    from foolbox.attacks import L2CarliniWagnerAttack

SHAPE = (4, 6, 6, 3)
LABELS = np.array([0, 1, 2, 0])
IMAGES = np.random.default_rng(0).uniform(40, 215, SHAPE).astype(np.float32)


@functools.cache
def net(seed=0, classes=3):
    """A small two-layer net."""
    random = np.random.default_rng(seed)
    first = random.normal(0, 0.2, (6 * 6 * 3, 16)).astype(np.float32)
    second = random.normal(0, 0.3, (16, classes)).astype(np.float32)
    return lambda images: jnp.tanh((images.reshape(len(images), -1) / 127.5 - 1) @ first) @ second


@functools.cache
def linear():
    weights = np.random.default_rng(3).normal(0, 0.01, (6 * 6 * 3, 2)).astype(np.float32)
    return lambda images: images.reshape(len(images), -1) @ weights


def predict(fn, images):
    return np.argmax(fn(images), axis=-1)


@functools.partial(jax.jit, static_argnums=0, static_argnames=("steps", "searches"))
def attacked(fns, labels, kappa=0.0, steps=80, searches=4):
    return carlini_wagner(fns, jnp.asarray(IMAGES), labels, steps, kappa=kappa, searches=searches)


@pytest.mark.parametrize("kappa", [0.1, pytest.param(0.0, marks=pytest.mark.slow)])
def test_it_is_the_attack_of_foolbox(kappa):
    labels, images = jnp.asarray(predict(net(), IMAGES)), jnp.asarray(IMAGES)
    attack = L2CarliniWagnerAttack(
        3, 60, 0.01, kappa, initial_const=1e-3 * 255**2, abort_early=False
    )
    theirs = attack.run(JAXModel(net(), bounds=(0, 255)), images, labels)
    ours = attacked((net(),), labels, kappa, steps=60, searches=3)
    assert np.all(distance(theirs, IMAGES) > 1)
    np.testing.assert_allclose(ours, theirs, atol=0.05)


def test_of_a_linear_classifier_it_finds_nearly_the_smallest_perturbation():
    """The distance to the plane between two classes: the margin divided by its slope."""
    labels = predict(linear(), IMAGES)
    weights = np.asarray(linear()(np.eye(108, dtype=np.float32).reshape(-1, 6, 6, 3)))
    least = margin(linear()(IMAGES), labels) / np.linalg.norm(weights[:, 0] - weights[:, 1])
    result = attacked((linear(),), labels, steps=300, searches=9)
    assert np.all(predict(linear(), result) != labels)
    assert np.all(distance(result, IMAGES) >= least * (1 - 1e-4))
    assert np.all(distance(result, IMAGES) <= 1.05 * least)


def test_all_of_several_classifiers_are_misled():
    fns = net(0), net(1)
    result = attacked(fns, LABELS, kappa=0.2)
    for fn in fns:
        assert np.all(margin(fn(result), LABELS) < -0.2 + 1e-4)
    assert np.min(result) >= 0
    assert np.max(result) <= 255


def test_confidence_costs_distance_image_by_image():
    labels = predict(net(), IMAGES)
    kappa = np.array([0, 0.5, 0, 0.5], np.float32)
    low, mixed = attacked((net(),), labels), attacked((net(),), labels, kappa=kappa)
    more = distance(mixed, IMAGES) > distance(low, IMAGES)
    np.testing.assert_array_equal(more, kappa > 0)
    assert np.all(margin(net()(mixed), labels) < -kappa + 1e-4)


def test_without_success_it_returns_the_last_iterate():
    labels = predict(net(), IMAGES)
    result = attacked((net(),), labels, kappa=1e6, searches=2)
    assert np.all(distance(result, IMAGES) > 1)
    assert np.all(margin(net()(result), labels) < margin(net()(IMAGES), labels))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"steps": 0}, "not 0 and 9"), ({"searches": 0}, "not 5 and 0"), ({"fns": ()}, "is empty")],
)
def test_bad_arguments(change, message):
    fns = change.pop("fns", (net(),))
    with pytest.raises(ValueError, match=message):
        carlini_wagner(fns, IMAGES, LABELS, change.pop("steps", 5), **change)


def test_images_and_labels_are_converted_or_refused():
    images, labels = IMAGES.astype(np.uint8), LABELS.tolist()
    result = carlini_wagner((net(),), images, labels, 2, searches=1)
    expected = carlini_wagner((net(),), images.astype(np.float32), LABELS, 2, searches=1)
    np.testing.assert_array_equal(result, expected)
    with pytest.raises(ValueError, match=r"within 0\.\.1"):
        carlini_wagner((net(),), IMAGES / 255, labels, 2)


def test_confidence_survives_rounding():
    """Without confidence, rounding to 8 bits undoes some of the attacks."""
    labels = predict(net(), IMAGES)
    rounded = np.round(attacked((net(),), labels, kappa=0.5))
    assert np.all(predict(net(), rounded) != labels)
