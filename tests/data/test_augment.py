"""Flips and shifts, against what they mean pixel by pixel."""

import numpy as np
import pytest

from raeg_jax.data.augment import random_flip, random_shift

IMAGES = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), np.uint8)


def test_flip_mirrors_about_half_of_the_images():
    flipped = random_flip(IMAGES, np.random.default_rng(1))
    mirrored = [np.array_equal(new, old[:, ::-1]) for new, old in zip(flipped, IMAGES, strict=True)]
    same = [np.array_equal(new, old) for new, old in zip(flipped, IMAGES, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 20 < sum(mirrored) < 44


@pytest.mark.parametrize("padding", [1, 3, 6])
def test_shift_moves_each_image_by_its_own_offset(padding):
    shifted = random_shift(IMAGES, padding, np.random.default_rng(1))
    assert (shifted.shape, shifted.dtype) == (IMAGES.shape, np.uint8)
    offsets = set()
    for new, old in zip(shifted, IMAGES, strict=True):
        matches = [
            (dy, dx)
            for dy in range(-padding, padding + 1)
            for dx in range(-padding, padding + 1)
            if np.array_equal(new, reflected(old, dy, dx))
        ]
        assert len(matches) == 1
        offsets.add(matches[0])
    assert len(offsets) > 3
    # The whole range is used, in both directions.
    for axis in (0, 1):
        assert {offset[axis] for offset in offsets} == set(range(-padding, padding + 1))


def reflected(image, dy, dx):
    """Pixel (y, x) of the result is pixel (y + dy, x + dx), mirrored at the borders."""
    size = len(image)

    def mirror(place):
        place = np.abs(place)
        return np.where(place >= size, 2 * (size - 1) - place, place)

    return image[mirror(np.arange(size) + dy)][:, mirror(np.arange(size) + dx)]


@pytest.mark.parametrize("function", [random_flip, lambda x, g: random_shift(x, 2, g)])
def test_the_generator_decides(function):
    one, same, other = (function(IMAGES, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_inputs_are_left_alone():
    before = IMAGES.copy()
    random_shift(random_flip(IMAGES, np.random.default_rng(1)), 2, np.random.default_rng(1))
    np.testing.assert_array_equal(IMAGES, before)
