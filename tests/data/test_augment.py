"""Random changes, against what they mean pixel by pixel."""

import numpy as np
import pytest
import skimage.transform
from PIL import Image

from raeg_jax.data.augment import (
    mix,
    random_cutout,
    random_flip,
    random_grey,
    random_part,
    random_shift,
)

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


@pytest.mark.parametrize(
    "function",
    [
        random_flip,
        lambda x, g: random_shift(x, 2, g),
        lambda x, g: random_part(x, 0.5, g),
        lambda x, g: random_grey(x, 0.5, g),
        lambda x, g: random_cutout(x, 0.5, g),
        lambda x, g: mix(x, 0.4, g)[0],
    ],
)
def test_the_generator_decides(function):
    one, same, other = (function(IMAGES, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_inputs_are_left_alone():
    before = IMAGES.copy()
    random = np.random.default_rng(1)
    changed = random_cutout(random_grey(random_flip(IMAGES, random), 0.5, random), 0.3, random)
    mix(random_shift(changed, 2, random), 0.4, random)
    np.testing.assert_array_equal(IMAGES, before)


def test_parts_are_enlarged_as_by_scikit_image():
    parts = random_part(IMAGES, 0.7, np.random.default_rng(1))
    assert (parts.shape, parts.dtype) == (IMAGES.shape, np.uint8)
    found = [part_of(part, image) for part, image in zip(parts, IMAGES, strict=True)]
    # Sides of 6 to 8 pixels, wherever these fit.
    assert {side for *_, rows, columns in found for side in (rows, columns)} == {6, 7, 8}
    assert {top for top, *_ in found} == {left for _, left, *_ in found} == {0, 1, 2}
    np.testing.assert_array_equal(random_part(IMAGES, 1.0, np.random.default_rng(1)), IMAGES)


def part_of(enlarged, image):
    """(top, left, rows, columns) of the part of an image that was enlarged."""
    size = len(image)
    differences = {
        (top, left, rows, columns): np.abs(
            skimage.transform.resize(
                image[top : top + rows, left : left + columns].astype(float), (size, size), order=1,
                mode="edge", anti_aliasing=False,
            ) - enlarged
        ).max()
        for rows in (6, 7, 8) for columns in (6, 7, 8)
        for top in range(size - rows + 1) for left in range(size - columns + 1)
    }  # fmt: skip
    (box,) = [box for box, difference in differences.items() if difference <= 1]
    return box


def test_grey_images_have_the_luma_of_pillow():
    grey = random_grey(IMAGES, 0.5, np.random.default_rng(1))
    changed = [i for i in range(len(IMAGES)) if not np.array_equal(grey[i], IMAGES[i])]
    assert 20 < len(changed) < 44
    for i in changed:
        luma = np.asarray(Image.fromarray(IMAGES[i]).convert("L"), int)
        assert np.abs(grey[i] - luma[..., None]).max() <= 1
    np.testing.assert_array_equal(random_grey(IMAGES, 0.0, np.random.default_rng(1)), IMAGES)


def test_cutout_covers_one_square_which_may_hang_over_the_border():
    covered = random_cutout(np.zeros_like(IMAGES), 0.5, np.random.default_rng(1)) == 128
    heights, widths = covered.any((2, 3)).sum(1), covered.any((1, 3)).sum(1)
    np.testing.assert_array_equal(covered.sum((1, 2, 3)), 3 * heights * widths)
    assert heights.max() == widths.max() == 4
    assert heights.min() == widths.min() == 2
    places = covered.any((0, 3))
    assert places.all()


def test_mixing_blends_each_image_with_its_partner():
    mixed, partner, share = mix(IMAGES, 0.4, np.random.default_rng(1))
    own = share[:, None, None, None]
    np.testing.assert_allclose(mixed, own * IMAGES + (1 - own) * IMAGES[partner], atol=0.51)
    np.testing.assert_array_equal(np.sort(partner), np.arange(len(IMAGES)))
    assert (mixed.dtype, share.dtype) == (np.uint8, np.float32)
    # Beta(0.4, 0.4) favours both ends.
    assert np.mean((share < 0.1) | (share > 0.9)) > 0.3
    assert np.any((share > 0.3) & (share < 0.7))
