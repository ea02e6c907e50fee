"""The conditioner of shortcut stages with learned patterns: the same on any part of any size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from raeg_jax.errors import UserError
from raeg_jax.generator.chain import Chain
from raeg_jax.generator.gradient_coupling import GradientCoupling
from raeg_jax.generator.learned_pattern import LearnedPattern, Place, check_patterns, whole
from raeg_jax.image.metrics import psnr
from tests.oracles import integer_pattern

LABELS = np.array([0, 1, 4, 7], np.int32)
DRAWS = np.array([0, 5, 2**31 - 1, 1], np.int32)


def random_patterns(classes=5, variants=3, grid=6, seed=0):
    shape = classes, variants, grid, grid, 3
    return np.random.RandomState(seed).randint(-128, 128, shape).astype(np.int8)


def direction(patterns, size, labels=LABELS, place=None):
    images = np.zeros((len(labels), *size, 3), np.float32)
    found = jax.jit(lambda one, place: one(images, labels, place))(LearnedPattern(patterns), place)
    return np.asarray(found)


@pytest.mark.parametrize(
    ("grid", "size"), [(2, (1, 1)), (6, (5, 23)), (6, (6, 6)), (32, (32, 300)), (128, (90, 7))]
)
def test_numpy_integers_give_the_same_pattern(grid, size):
    patterns = random_patterns(grid=grid)
    found = direction(patterns, size, place=whole(4, *size, DRAWS))
    expected = integer_pattern.directions(patterns, LABELS, *size, DRAWS)
    np.testing.assert_array_equal(found * 16, expected)


def test_64_bits_change_nothing():
    patterns, place = random_patterns(), whole(4, 9, 20, DRAWS)
    expected = direction(patterns, (9, 20), place=place)
    with jax.enable_x64(True):
        np.testing.assert_array_equal(direction(patterns, (9, 20), place=place), expected)


@pytest.mark.parametrize("size", [(100, 37), (32, 32), (11, 40), (7, 5)])
def test_patterns_are_resized_as_pillow_does(size):
    patterns = random_patterns(1, 1, 16)
    (found,) = direction(patterns, size, LABELS[:1])
    for channel in range(3):
        cells = Image.fromarray(patterns[0, 0, ..., channel].astype(np.float32))
        expected = cells.resize(size[::-1], Image.Resampling.BILINEAR)
        # Weights are rounded to 256ths on both axes, of values up to 128.
        np.testing.assert_allclose(found[..., channel], expected, atol=1.1)


@pytest.mark.parametrize("size", [(300, 500), (257, 90), (31, 33), (2, 9)])
def test_parts_of_a_photograph_have_their_parts_of_its_pattern(size):
    patterns, random = random_patterns(grid=32), np.random.RandomState(1)
    expected = direction(patterns, size, place=whole(4, *size, DRAWS))
    height, width = (min(side, 30) for side in size)
    tops, lefts = (random.randint(0, max(side - 30, 0) + 1, 4) for side in size)
    box = np.stack([tops, lefts, *(np.full(4, side) for side in size)], axis=1).astype(np.int32)
    parts = direction(patterns, (height, width), place=Place(box, DRAWS))
    for part, image, top, left in zip(parts, expected, tops, lefts, strict=True):
        np.testing.assert_array_equal(part, image[top : top + height, left : left + width])


@pytest.mark.parametrize("side", [2**13 - 1, 2**15, 2**22])
def test_long_sides_do_not_overflow(side):
    """The last cells lie at the end, and around the middle cells are as in smaller photographs."""
    patterns = random_patterns(1, 1, 128)
    one, columns = patterns[0, 0], 8
    for first in (0, side // 2 - columns // 2, side - columns):
        box = np.array([[0, first, 128, side]], np.int32)
        (found,) = direction(patterns, (128, columns), LABELS[:1], Place(box, np.zeros(1, int)))
        # In float64, with exact weights.
        at = np.clip((first + np.arange(columns) + 0.5) * 128 / side - 0.5, 0, 127)
        low = np.minimum(at.astype(int), 126)
        weight = (at - low)[None, :, None]
        expected = (1 - weight) * one[:, low] + weight * one[:, low + 1].astype(float)
        np.testing.assert_allclose(found, expected, atol=0.6)


def test_without_a_place_images_are_whole_and_drew_nothing():
    patterns = random_patterns()
    expected = direction(patterns, (9, 20), place=whole(4, 9, 20))
    np.testing.assert_array_equal(direction(patterns, (9, 20)), expected)
    # The first of the class's, and of the classes from the start where there are no more.
    of_class = direction(patterns[:, :1], (9, 20), place=whole(4, 9, 20, DRAWS))
    np.testing.assert_array_equal(of_class, expected)
    np.testing.assert_array_equal(direction(patterns, (9, 20), LABELS + 5), expected)
    assert LearnedPattern(patterns).count == 5


def test_the_draw_chooses_among_the_patterns_of_a_class():
    same = np.zeros(6, np.int32)
    found = direction(random_patterns(), (8, 8), same, whole(6, 8, 8, np.arange(6, dtype=np.int32)))
    assert len({each.tobytes() for each in found}) == 3
    np.testing.assert_array_equal(found[:3], found[3:])


def test_the_stage_is_exact_and_stops_at_the_psnr():
    patterns = LearnedPattern(random_patterns(grid=8))
    stage = GradientCoupling(patterns, 6.0, 30.0, token_planes=1)
    chain = Chain((stage,))
    assert chain.portable
    assert chain.placed
    random = np.random.RandomState(0)
    smooth = random.randint(40, 216, (4, 8, 8, 3)).astype(np.float32)
    x = np.round(np.asarray(jax.image.resize(smooth, (4, 32, 40, 3), "cubic")).clip(0, 255))
    token = random.choice([-1, 1], (4, 32, 40, 1))
    # Tiles of larger photographs.
    box = np.array([[0, 0, 32, 40], [9, 3, 50, 70], [0, 1, 32, 41], [200, 5, 500, 45]], np.int32)
    place = Place(box, DRAWS)
    y, info = jax.jit(lambda c, x: c.forward(x, LABELS, token, None, place))(chain, x)
    undo = jax.jit(lambda c, y, info, place: c.inverse(y, info, token, None, place))
    np.testing.assert_array_equal(undo(chain, y, info, place), x)
    np.testing.assert_allclose(psnr(jnp.clip(y, 0, 255), x), 10 * np.log10(255**2 / 30), atol=0.3)
    added = np.asarray(y) - x
    wanted = direction(patterns.patterns, (32, 40), place=place)
    for image, pattern in zip(added, wanted, strict=True):
        assert np.corrcoef(image.ravel(), pattern.ravel())[0, 1] > 0.9
    # Another draw is another pattern, which doesn't undo this one.
    other = undo(chain, y, info, Place(box, DRAWS + np.array([1, 1, -1, 1], np.int32)))
    assert np.all(np.any(np.asarray(other) != x, axis=(1, 2, 3)))


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (None, r"pattern='learned' needs patterns, and there are none: train.py learns them"),
        (np.zeros((2, 1, 8, 8, 3), np.float32), r"float32 \[2, 1, 8, 8, 3\], not int8 \[classes"),
        (np.zeros((2, 8, 8, 3), np.int8), r"int8 \[2, 8, 8, 3\], not int8 \[classes, variants"),
        (np.zeros((2, 1, 8, 9, 3), np.int8), r"\[2, 1, 8, 9, 3\], not int8"),
        (np.zeros((2, 1, 8, 8, 1), np.int8), r"\[2, 1, 8, 8, 1\], not int8"),
        (np.zeros((0, 1, 8, 8, 3), np.int8), r"have 0 classes, not 1 to 1024: give those that"),
        (np.zeros((1025, 1, 2, 2, 3), np.int8), "have 1025 classes, not 1 to 1024"),
        (np.zeros((2, 65, 2, 2, 3), np.int8), "have 65 variants of a class, not 1 to 64"),
        (np.zeros((2, 1, 1, 1, 3), np.int8), "have 1 cells along a side, not 2 to 128"),
        (np.zeros((2, 1, 129, 129, 3), np.int8), "have 129 cells along a side, not 2 to 128"),
    ],
)
def test_what_can_not_be_patterns_is_refused(patterns, message):
    with pytest.raises(UserError, match=message):
        check_patterns(patterns)


def test_random_patterns_can_be_patterns():
    check_patterns(random_patterns())
