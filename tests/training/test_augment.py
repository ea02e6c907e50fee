"""The augmentation in training steps is that of `data.augment`, for the same draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from raeg_jax.data import augment as numpy_augment
from raeg_jax.training import augment as lib

RANDOM = np.random.RandomState(0)
IMAGES = RANDOM.randint(0, 256, (6, 9, 9, 3)).astype(np.uint8)
INDEX = jnp.arange(6)


class Drawn:
    """A generator of random numbers that were drawn before."""

    def __init__(self, values):
        self.values = values

    def random(self, count):
        return self.values

    def integers(self, low, high, size=None):
        values = self.values if size else self.later
        assert np.all((low <= values) & (values < high))
        return values


def assert_equal(ours, expected):
    np.testing.assert_array_equal(np.asarray(ours), expected)


def test_flips():
    mirrored = np.array([True, False, True, True, False, False])
    expected = numpy_augment.random_flip(IMAGES, Drawn(1.0 - mirrored))
    assert_equal(lib.flip(IMAGES * 1.0, mirrored), expected)


def test_parts():
    """Pillow rounds between rows and columns, too."""
    sides = RANDOM.randint(4, 10, (6, 2))
    sides[0] = 9
    starts = RANDOM.randint(0, 10 - sides)
    drawn = Drawn(sides)
    drawn.later = starts
    expected = numpy_augment.random_part(IMAGES, 0.5, drawn)
    ours = lib.part(IMAGES * 1.0, jnp.asarray(starts), jnp.asarray(sides))
    np.testing.assert_allclose(ours, expected, atol=1)
    np.testing.assert_array_equal(ours[0], IMAGES[0])
    assert np.mean(np.asarray(ours) == expected) > 0.8


@pytest.mark.parametrize("padding", [2, 8])
def test_shifts(padding):
    offsets = RANDOM.randint(0, 2 * padding + 1, (6, 2))
    offsets[0], offsets[1] = 0, 2 * padding
    expected = numpy_augment.random_shift(IMAGES, padding, Drawn(offsets))
    assert_equal(lib.shift(IMAGES * 1.0, padding, jnp.asarray(offsets)), expected)


def test_greys():
    chosen = np.array([True, False, True, True, False, True])
    expected = numpy_augment.random_grey(IMAGES, 0.5, Drawn(1.0 - chosen))
    assert_equal(lib.grey(IMAGES * 1.0, chosen), expected)


@pytest.mark.parametrize("share", [0.5, 0.3])
def test_cutouts(share):
    centres = RANDOM.randint(0, 9, (6, 2))
    centres[0], centres[1] = 0, 8
    expected = numpy_augment.random_cutout(IMAGES, share, Drawn(centres))
    assert_equal(lib.cutout(IMAGES * 1.0, share, jnp.asarray(centres)), expected)


def everything():
    settings = base.get_config().augment
    settings.update(flip=True, crop_padding=3, crop_share=0.6, grey=0.5, cutout=0.3)
    return settings


def test_draws_belong_to_the_images_place_in_the_global_batch():
    settings, images = everything(), np.repeat(IMAGES[:1], 40, axis=0) * 1.0
    whole = lib.augment(jax.random.key(0), images, settings, jnp.arange(40))
    part = lib.augment(jax.random.key(0), images[30:], settings, jnp.arange(30, 40))
    assert_equal(part, whole[30:])
    assert len(np.unique(np.asarray(whole), axis=0)) == 40
    other = lib.augment(jax.random.key(1), images, settings, jnp.arange(40))
    assert np.any(np.asarray(other) != np.asarray(whole))


def test_nothing_that_is_off_changes_images():
    settings = base.get_config().augment
    settings.update(flip=False, crop_padding=0)
    assert_equal(lib.augment(jax.random.key(0), IMAGES * 1.0, settings, INDEX), IMAGES)


def test_gradients_reach_the_pixels_that_are_seen():
    seen, pull = jax.vjp(lambda x: lib.shift(x, 2, jnp.array([[0, 4]] * 6)), IMAGES * 1.0)
    (gradient,) = pull(jnp.ones_like(seen))
    # Rows 2 1 0 1 2 ... 6: a pixel that reflection shows twice counts twice.
    np.testing.assert_array_equal(gradient[0, :, 4, 0], [1, 2, 2, 1, 1, 1, 1, 0, 0])
    (gradient,) = jax.vjp(lambda x: lib.grey(x, jnp.ones(6, bool)), IMAGES * 1.0)[1](seen * 0 + 1)
    np.testing.assert_allclose(gradient[0, 0, 0], 3 * np.array([0.299, 0.587, 0.114]), rtol=1e-6)
