"""The floating-point conditioner of gradient couplings lowers the classifiers' loss."""

import jax
import numpy as np
import pytest

from raeg_jax.adversarial.features import likeness
from raeg_jax.adversarial.losses import LOSSES, class_permutation
from raeg_jax.adversarial.pgd import pgd_l2
from raeg_jax.generator.guide import Guide

LABELS = np.array([0, 2], np.int32)


def images(size=8):
    return np.random.RandomState(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)


def guide_of(*fns, **settings):
    return Guide(fns, **({"reach": 5.0, "steps": 2} | settings))


def linear(seed, size=8, classes=4):
    weights = np.random.RandomState(seed).randn(size * size * 3, classes).astype(np.float32) / 1000
    return jax.tree_util.Partial(lambda w, x: x.reshape(len(x), -1) @ w, weights)


@pytest.mark.parametrize("loss", LOSSES)
def test_following_the_direction_lowers_the_loss(loss):
    fn, x = linear(0), images()
    moved = x + guide_of(fn, loss=loss)(x, LABELS)
    assert np.all(LOSSES[loss](fn(moved), LABELS) < LOSSES[loss](fn(x), LABELS))
    if loss == "targeted":
        moved = x + guide_of(fn, loss=loss, reach=60.0, steps=20)(x, LABELS)
        np.testing.assert_array_equal(np.argmax(fn(moved), -1), class_permutation(4)[LABELS])


def test_the_margin_may_be_to_several_others():
    """On a linear classifier, whose gradients tell the loss."""
    fn, x = linear(0), 100 + images() / 10
    weights = np.asarray(fn.args[0])
    result = guide_of(fn, others=3, steps=1)(x, LABELS)
    for displacement, label in zip(np.asarray(result).reshape(2, -1), LABELS, strict=True):
        slope = weights[:, label] - np.delete(weights, label, axis=1).mean(1)
        norms = np.linalg.norm(displacement) * np.linalg.norm(slope)
        np.testing.assert_allclose(displacement @ slope / norms, -1, atol=1e-4)


def test_features_are_led_away_from_those_of_the_image_whatever_the_labels():
    networks, x = (linear(0), linear(1)), images()
    guide = guide_of(*networks, loss="features", reach=20.0, steps=4)
    displacement = guide(x, LABELS)
    like = likeness(networks, x)
    # A noise of that size, and the start, hardly change them.
    noise = np.random.RandomState(1).normal(0, 20, x.shape).astype(np.float32)
    assert np.all(2 - like(x + displacement) > 5 * (2 - like(x + noise)))
    np.testing.assert_array_equal(guide(x, LABELS[::-1]), displacement)
    alone = np.asarray(guide(x[1:], LABELS[1:]))
    np.testing.assert_allclose(displacement[1:], alone, atol=1e-3)


@pytest.mark.parametrize("reach", [0.5, 8.0])
def test_the_displacement_has_the_norm_of_the_reach(reach):
    x = 100 + images() / 10
    displacement = np.asarray(guide_of(linear(0), reach=reach)(x, LABELS))
    rms = np.sqrt(np.mean(displacement**2, axis=(1, 2, 3)))
    np.testing.assert_allclose(rms, reach, rtol=1e-3)


def test_it_is_pgd_for_one_classifier_that_is_not_misled():
    """The softplus of a single classifier has the direction of its margin."""
    fn, x = linear(0), images()
    labels = np.argmax(fn(x), axis=-1)
    expected = pgd_l2((fn,), x, labels, 3.0 * np.sqrt(x[0].size), 4) - x
    result = guide_of(fn, reach=3.0, steps=4)(x, labels)
    np.testing.assert_allclose(result, expected, atol=1e-2)


def test_images_are_independent():
    guide, x = guide_of(linear(0), linear(1)), images()
    np.testing.assert_allclose(guide(x, LABELS)[:1], guide(x[:1], LABELS[:1]), atol=1e-4)


def test_a_misled_classifier_counts_less():
    one, two, x = linear(0), linear(1), images()
    far = jax.tree_util.Partial(lambda w, x: one(x) - 30 * jax.nn.one_hot(LABELS, 4), None)
    alone = np.asarray(guide_of(two)(x, LABELS))
    np.testing.assert_allclose(guide_of(far, two)(x, LABELS), alone, atol=1e-2)
    equal = np.asarray(guide_of(far, two, kappa=100.0)(x, LABELS))
    assert np.abs(equal - alone).max() > 0.1 * np.abs(alone).max()


@pytest.mark.parametrize("lead", [1, 40, 1000])
def test_the_direction_remains_however_far_all_are_misled(lead):
    fn, x = linear(0), images()
    far = jax.tree_util.Partial(lambda w, x: fn(x) - lead * jax.nn.one_hot(LABELS, 4), None)
    expected, result = (np.asarray(guide_of(f)(x, LABELS)) for f in (fn, far))
    cosine = np.sum(result * expected) / np.linalg.norm(result) / np.linalg.norm(expected)
    assert cosine > 0.5
    assert np.abs(result).max() > 0.1 * np.abs(expected).max()


def test_smoothing_flattens():
    x = images(16)
    rough = guide_of(linear(0, 16), steps=1)(x, LABELS)
    smooth = guide_of(linear(0, 16), steps=1, smoothing=1.0)(x, LABELS)

    def roughness(x):
        return np.mean(np.diff(np.asarray(x), axis=1) ** 2) / np.mean(np.asarray(x) ** 2)

    assert roughness(smooth) < 0.5 * roughness(rough)


def test_views_take_turns_from_step_to_step():
    views = (("identity", 0.0), ("gaussian_blur", 1.0))
    fn, x = linear(0), 100 + images() / 10
    first = guide_of(fn, views=views, steps=1)(x, LABELS)
    np.testing.assert_allclose(first, guide_of(fn, steps=1)(x, LABELS), atol=1e-4)
    # On a linear classifier the second step does not depend on its start.
    both, plain, blurred = (
        np.asarray(guide_of(fn, views=v, steps=2, reach=2.0)(x, LABELS))
        for v in (views, views[:1], views[1:])
    )
    assert np.abs(both - plain).max() > 0.1
    assert np.abs(both - blurred).max() > 0.1
    between = np.sum((both - plain) * (blurred - plain)) / np.sum((blurred - plain) ** 2)
    assert 0.2 < between < 0.8
