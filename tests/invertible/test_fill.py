"""The estimate of masked samples: blind to them, good on photographs."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import skimage.data

from raeg_jax.invertible.fill import fill
from raeg_jax.invertible.masks import MASKS


def images(height, width, batch=2, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (batch, height, width, 3)).astype(np.int32)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (2, 2), (8, 9)])
@pytest.mark.parametrize("name", MASKS)
def test_masked_values_have_no_influence(name, size):
    x = images(*size)
    for mask in MASKS[name](*size)[:, None]:
        other = np.where(mask, images(*size, seed=1), x)
        for one, two in zip(fill(x, mask), fill(other, mask), strict=True):
            np.testing.assert_array_equal(np.where(mask, one, 0), np.where(mask, two, 0))


@pytest.mark.parametrize("name", MASKS)
def test_known_samples_stay_and_flat_images_are_filled_exactly(name):
    mask = MASKS[name](8, 8)[:1]
    x = images(8, 8)
    np.testing.assert_array_equal(np.where(mask, x, fill(x, mask).image), x)
    flat = np.full((1, 8, 8, 3), 200, np.int32)
    for result in fill(flat, mask):
        np.testing.assert_array_equal(result, 200)


def test_checkerboard_fill_is_the_rounded_mean_of_four_neighbours():
    x, mask = images(9, 8, batch=1), MASKS["checkerboard"](9, 8)[:1]
    cross = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])[..., None]
    # SciPy's 'mirror' is reflection about the centre of the outermost pixel.
    mean = scipy.ndimage.correlate(x[0].astype(float), cross / 4, mode="mirror")
    expected = np.where(mask[0], np.floor(mean + 0.5), x[0])
    np.testing.assert_array_equal(fill(x, mask).image[0], expected)


def test_range_is_that_of_neighbours_and_estimate():
    x, mask = images(9, 8, batch=1), MASKS["checkerboard"](9, 8)[:1]
    cross = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)[..., None]
    low = scipy.ndimage.minimum_filter(x[0], footprint=cross, mode="mirror")
    high = scipy.ndimage.maximum_filter(x[0], footprint=cross, mode="mirror")
    filled = fill(x, mask)
    np.testing.assert_array_equal(np.where(mask[0], filled.low[0], low), low)
    np.testing.assert_array_equal(np.where(mask[0], filled.high[0], high), high)


def test_other_channels_help_on_a_photograph():
    photograph = skimage.data.astronaut()[::4, ::4].astype(np.int32)[None]

    def error(name):
        mask = MASKS[name](128, 128)[:1]
        difference = fill(photograph, mask).image - photograph
        return np.sqrt(np.mean(np.square(difference)[mask]))

    assert error("diagonal") < 0.5 * error("checkerboard")
    assert error("random") < 0.8 * error("checkerboard")


def test_values_outside_the_range_of_a_file_are_no_obstacle():
    x, mask = images(8, 8) - 40, MASKS["diagonal"](8, 8)[:1]
    image = np.asarray(fill(x, mask).image)
    assert np.all(np.where(mask, image, 0) >= 0)
    assert image.dtype == jnp.int32
