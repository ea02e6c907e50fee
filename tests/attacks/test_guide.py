"""The conditioner of gradient couplings follows the classifiers' loss downhill."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.attacks.guide import LOSSES, VIEWS, Guide, parse_view
from raeg_jax.attacks.permutation import class_permutation
from raeg_jax.errors import UserError

LABELS = np.array([0, 2], np.int32)


def images(size=8):
    return np.random.RandomState(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)


def linear(seed, size=8, classes=4):
    weights = np.random.RandomState(seed).randn(size * size * 3, classes).astype(np.float32) / 1000
    return jax.tree_util.Partial(lambda w, x: x.reshape(len(x), -1) @ w, weights)


@pytest.mark.parametrize("loss", LOSSES)
def test_following_the_direction_lowers_the_loss(loss):
    fn = linear(0)
    guide, x = Guide((fn,), loss=loss), images()
    direction = guide(x, LABELS, jnp.int32(0))
    moved = x + 1000 * direction / jnp.abs(direction).max()
    assert np.all(LOSSES[loss](fn(moved), LABELS) < LOSSES[loss](fn(x), LABELS))


def test_targeted_goes_toward_the_permuted_class():
    fn, x = linear(0), images()
    direction = Guide((fn,), loss="targeted")(x, LABELS, jnp.int32(0))
    moved = x + 5000 * direction / jnp.abs(direction).max()
    np.testing.assert_array_equal(np.argmax(fn(moved), -1), class_permutation(4)[LABELS])


def test_each_images_direction_is_its_own():
    guide, x = Guide((linear(0), linear(1))), images()
    both = guide(x, LABELS, jnp.int32(0))
    np.testing.assert_allclose(both[:1], guide(x[:1], LABELS[:1], jnp.int32(0)), rtol=1e-5)


def test_a_misled_classifier_counts_less():
    one, two, x = linear(0), linear(1), images()
    far = jax.tree_util.Partial(lambda w, x: one(x) - 30 * jax.nn.one_hot(LABELS, 4), None)
    alone = np.asarray(Guide((two,))(x, LABELS, jnp.int32(0)))
    np.testing.assert_allclose(Guide((far, two))(x, LABELS, jnp.int32(0)), alone, rtol=1e-4)
    equal = np.asarray(Guide((far, two), kappa=100.0)(x, LABELS, jnp.int32(0)))
    assert np.abs(equal - alone).max() > 0.1 * np.abs(alone).max()


@pytest.mark.parametrize("lead", [1, 40, 1000])
def test_a_direction_is_left_however_far_all_are_misled(lead):
    fn, x = linear(0), images()
    far = jax.tree_util.Partial(lambda w, x: fn(x) - lead * jax.nn.one_hot(LABELS, 4), None)
    expected = np.asarray(Guide((fn,))(x, LABELS, jnp.int32(0)))
    found = np.asarray(Guide((far,))(x, LABELS, jnp.int32(0)))
    cosine = np.sum(found * expected) / np.linalg.norm(found) / np.linalg.norm(expected)
    assert cosine > 0.5
    assert np.abs(found).max() > 0.1 * np.abs(expected).max()


def test_smoothing_keeps_the_mean_and_flattens():
    x = images(16)
    rough = Guide((linear(0, 16),))(x, LABELS, jnp.int32(0))
    smooth = Guide((linear(0, 16),), smoothing=1.0)(x, LABELS, jnp.int32(0))
    np.testing.assert_allclose(smooth.mean((1, 2)), rough.mean((1, 2)), atol=1e-6)
    assert np.std(smooth) < 0.5 * np.std(rough)


def test_views_take_turns_of_three_rounds():
    views = (("identity", 0.0), ("gaussian_blur", 1.0))
    x, fns = images(), (linear(0),)
    both = Guide(fns, views=views)
    for index, view in [(0, 0), (2, 0), (3, 1), (5, 1), (6, 0)]:
        alone = Guide(fns, views=(views[view],))(x, LABELS, jnp.int32(0))
        np.testing.assert_allclose(both(x, LABELS, jnp.int32(index)), alone, rtol=1e-5)


@pytest.mark.parametrize("text", ["identity", "gaussian_blur:1.5", "jpeg:50", "rescale:0.5"])
def test_views_are_written_with_their_number(text):
    name, number = parse_view(text)
    assert name in VIEWS
    assert text in (name, f"{name}:{number:g}")
    direction = Guide((linear(0, 16),), views=((name, number),))(images(16), LABELS, jnp.int32(0))
    assert np.all(np.isfinite(direction))
    assert np.any(np.asarray(direction) != 0)


@pytest.mark.parametrize("text", ["", 50, "jpeg", "jpeg:0", "jpeg:x", "jpeg:5.5", "rescale:2"])
def test_unknown_views_are_named(text):
    with pytest.raises(UserError, match=r"identity.*jpeg:<1 to 100>"):
        parse_view(text)
