"""What the guide of photographs sees; its descents are tested with `photograph`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.generator.photograph_guide import (
    FRAMES,
    WORKING,
    View,
    cell_means,
    cell_side,
    crop_words,
    draws,
    frame_box,
    working_images,
)
from tests.exact.random_classifiers import pictures


def token(height, width, seed=0, batch=2):
    return np.random.RandomState(seed).choice([-1, 1], (batch, height, width, 2)).astype(np.int8)


@pytest.mark.parametrize("size", [(5, 9), (320, 1), (321, 200), (643, 640)])
@pytest.mark.parametrize("xp", [np, jnp])
def test_the_working_image_is_the_mean_of_whole_cells(size, xp):
    images = pictures(*size, count=1).astype(np.int32)
    side = cell_side(*size)
    assert side == -(-max(size) // WORKING)
    means = np.asarray(cell_means(xp, xp.asarray(images), side))[0]
    for i, j in [(0, 0), (means.shape[0] - 1, means.shape[1] - 1), (means.shape[0] // 2, 0)]:
        cell = images[0, i * side : (i + 1) * side, j * side : (j + 1) * side]
        np.testing.assert_array_equal(means[i, j], np.floor(16 * cell.mean((0, 1)) + 0.5))
    working, sizes = working_images(xp, xp.asarray(images))
    assert working.shape == (1, WORKING, WORKING, 3)
    np.testing.assert_array_equal(sizes[0], means.shape[:2])
    np.testing.assert_array_equal(working[0, : means.shape[0], : means.shape[1]], means)
    np.testing.assert_array_equal(working[0, -1, -1], means[-1, -1])


@pytest.mark.parametrize("xp", [np, jnp])
def test_white_cells_of_hundreds_of_pixels_stay_white(xp):
    image = xp.full((1, 600, 1100, 3), 255, xp.uint8)
    np.testing.assert_array_equal(cell_means(xp, image, 600), np.full((1, 1, 2, 3), 16 * 255))


def test_draws_depend_on_every_sign_on_the_step_and_on_nothing_else():
    signs = token(40, 56)
    words = crop_words(np, signs)
    np.testing.assert_array_equal(words, jax.jit(lambda x: crop_words(jnp, x))(signs))
    drawn = draws(np, words, 3)
    assert drawn.dtype == np.uint32
    assert drawn.shape == (2, 4)
    np.testing.assert_array_equal(drawn, draws(jnp, jnp.asarray(words), jnp.int32(3)))
    assert len(np.unique([draws(np, words, step) for step in range(50)])) == 400
    # Half of the bits differ where one sign does.
    other = signs.copy()
    other[0, 0, 0, 0] *= -1
    changed = [draws(np, crop_words(np, other), n)[0] ^ draws(np, words, n)[0] for n in range(40)]
    assert abs(np.unpackbits(np.array(changed).view(np.uint8)).mean() - 0.5) < 0.02


@pytest.mark.parametrize("size", [(1, 1), (33, 320), (320, 240)])
def test_frames_lie_in_the_image_and_parts_have_all_sizes_and_places(size):
    sizes = jnp.broadcast_to(jnp.array(size), (500, 2))
    numbers = jnp.asarray(np.random.RandomState(0).randint(0, 2**32, (500, 4), np.uint32))
    for frame in FRAMES:
        top, left, height, width = np.asarray(frame_box(frame, sizes, numbers)).T / 16
        assert min(top.min(), left.min()) >= 0
        assert min(height.min(), width.min()) > 0
        assert (top + height).max() <= size[0]
        assert (left + width).max() <= size[1]
        if frame == "whole":
            assert (height.min(), width.min()) == size
        elif frame == "centre":
            np.testing.assert_array_equal(height, width)
            assert np.abs(top + height / 2 - size[0] / 2).max() <= 1 / 16
        elif min(size) > 1:
            for start, length, side in ((top, height, size[0]), (left, width, size[1])):
                shares = np.quantile(length / side, [0, 0.5, 1])
                np.testing.assert_allclose(shares, [0.7, 0.85, 1], atol=0.03)
                assert abs(np.corrcoef(start / (side - length + 1e-9), length)[0, 1]) < 0.2


def test_views_are_read_as_they_are_written():
    assert View.parse("crop") == View("crop", 0)
    assert View.parse("whole+jpeg:75") == View("whole", 75)
    for text in ("identity", "jpeg:75", "crop+", "crop+jpeg", "crop+jpeg:0", "crop+jpeg:101"):
        assert View.parse(text) is None
    assert View.parse("crop+blur:1") is None
