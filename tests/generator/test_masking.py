"""Masks and the estimate of masked samples: complete, stable, blind to masked values."""

import hashlib

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import skimage.data

from raeg_jax.generator.masking import MASKS, checkerboard, diagonal, fill, random, round_mask


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


SIZES = [(1, 1), (5, 7), (64, 64)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MASKS)
def test_every_sample_is_masked_equally_often(name, size):
    masks = MASKS[name](*size)
    assert masks.shape == (2 if name == "checkerboard" else 3, *size, 3)
    assert masks.dtype == bool
    np.testing.assert_array_equal(masks.sum(0), 1)


@pytest.mark.parametrize("name", ["diagonal", "random"])
def test_two_channels_of_every_pixel_are_known(name):
    np.testing.assert_array_equal(MASKS[name](9, 6).sum(-1), 1)


def test_checkerboard_masks_whole_pixels():
    masks = checkerboard(4, 5)
    np.testing.assert_array_equal(masks[0, :2, :3, 0], [[1, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(masks[..., 0], masks[..., 2])


def test_neighbours_of_a_masked_sample_are_known_in_diagonal_masks():
    mask = diagonal(7, 7)[0]
    assert not np.any(mask[1:] & mask[:-1])
    assert not np.any(mask[:, 1:] & mask[:, :-1])


@pytest.mark.parametrize("name", MASKS)
def test_a_token_shifts_the_order_of_masks_and_every_sample_is_still_masked_once(name):
    masks = MASKS[name](8, 9)
    token = np.random.RandomState(0).choice([-1, 1], (2, 8, 9, 2))
    drawn = np.stack([round_mask(masks, index, token) for index in range(len(masks))])
    assert drawn.shape == (len(masks), 2, 8, 9, 3)
    np.testing.assert_array_equal(drawn.sum(0), 1)
    for shift, signs in enumerate([(1, 1), (1, -1), (-1, -1)]):
        uniform = np.broadcast_to(signs, (1, 8, 9, 2))
        result = round_mask(masks, 1, uniform)[0]
        np.testing.assert_array_equal(result, masks[(1 + shift) % len(masks)])


def test_random_masks_never_change():
    digest = hashlib.sha256(np.packbits(random(32, 24)).tobytes()).hexdigest()
    assert digest == "9b08408e7e7f1f85cb333764b78a91acec28dae9abab04f716843ee78fd1f0c9"
