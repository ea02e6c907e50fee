"""The conditioner of gradient couplings follows the classifiers' loss downhill."""

import jax
import numpy as np
import pytest

from raeg_jax.attacks.gradient import pgd_l2
from raeg_jax.attacks.guide import LOSSES, VIEWS, Guide, parse_view
from raeg_jax.attacks.permutation import class_permutation
from raeg_jax.errors import UserError

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


def test_targeted_goes_toward_the_permuted_class():
    fn, x = linear(0), images()
    moved = x + guide_of(fn, loss="targeted", reach=60.0, steps=20)(x, LABELS)
    np.testing.assert_array_equal(np.argmax(fn(moved), -1), class_permutation(4)[LABELS])


@pytest.mark.parametrize("reach", [0.5, 8.0])
def test_the_way_is_as_long_as_asked(reach):
    x = 100 + images() / 10
    way = np.asarray(guide_of(linear(0), reach=reach)(x, LABELS))
    np.testing.assert_allclose(np.sqrt(np.mean(way**2, axis=(1, 2, 3))), reach, rtol=1e-3)


def test_it_is_pgd_for_one_classifier_that_is_not_misled():
    """Alone, a classifier's softplus has the direction of its margin."""
    fn, x = linear(0), images()
    labels = np.argmax(fn(x), axis=-1)
    expected = pgd_l2((fn,), x, labels, 3.0 * np.sqrt(x[0].size), 4) - x
    found = guide_of(fn, reach=3.0, steps=4)(x, labels)
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_each_images_direction_is_its_own():
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
def test_a_direction_is_left_however_far_all_are_misled(lead):
    fn, x = linear(0), images()
    far = jax.tree_util.Partial(lambda w, x: fn(x) - lead * jax.nn.one_hot(LABELS, 4), None)
    expected, found = (np.asarray(guide_of(f)(x, LABELS)) for f in (fn, far))
    cosine = np.sum(found * expected) / np.linalg.norm(found) / np.linalg.norm(expected)
    assert cosine > 0.5
    assert np.abs(found).max() > 0.1 * np.abs(expected).max()


def test_smoothing_flattens():
    x = images(16)
    rough = guide_of(linear(0, 16), steps=1)(x, LABELS)
    smooth = guide_of(linear(0, 16), steps=1, smoothing=1.0)(x, LABELS)

    def roughness(way):
        return np.mean(np.diff(np.asarray(way), axis=1) ** 2) / np.mean(np.asarray(way) ** 2)

    assert roughness(smooth) < 0.5 * roughness(rough)


def test_views_take_turns_from_step_to_step():
    views = (("identity", 0.0), ("gaussian_blur", 1.0))
    fn, x = linear(0), 100 + images() / 10
    first = guide_of(fn, views=views, steps=1)(x, LABELS)
    np.testing.assert_allclose(first, guide_of(fn, steps=1)(x, LABELS), atol=1e-4)
    # On a linear classifier the second step is the same wherever it starts from.
    both, plain, blurred = (
        np.asarray(guide_of(fn, views=v, steps=2, reach=2.0)(x, LABELS))
        for v in (views, views[:1], views[1:])
    )
    assert np.abs(both - plain).max() > 0.1
    assert np.abs(both - blurred).max() > 0.1
    between = np.sum((both - plain) * (blurred - plain)) / np.sum((blurred - plain) ** 2)
    assert 0.2 < between < 0.8


@pytest.mark.parametrize("text", ["identity", "gaussian_blur:1.5", "jpeg:50", "rescale:0.5"])
def test_views_are_written_with_their_number(text):
    name, number = parse_view(text)
    assert name in VIEWS
    assert text in (name, f"{name}:{number:g}")
    direction = guide_of(linear(0, 16), views=((name, number),))(images(16), LABELS)
    assert np.all(np.isfinite(direction))
    assert np.any(np.asarray(direction) != 0)


@pytest.mark.parametrize("text", ["", 50, "jpeg", "jpeg:0", "jpeg:x", "jpeg:5.5", "rescale:2"])
def test_unknown_views_are_named(text):
    with pytest.raises(UserError, match=r"identity.*jpeg:<1 to 100>"):
        parse_view(text)
