"""Blocks, their classes, and where they go."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raeg_jax.baselines import blocks
from tests.baselines.toys import PICTURES, SEEDS, picture


@given(PICTURES, st.integers(1, 9))
def test_cut_blocks_are_those_of_the_loop_and_go_back(image, side):
    rows, columns = image.shape[0] // side, image.shape[1] // side
    expected = [
        image[side * i : side * (i + 1), side * j : side * (j + 1)]
        for i in range(rows)
        for j in range(columns)
    ]
    found = blocks.cut(image, side)
    np.testing.assert_array_equal(found, np.reshape(expected, (-1, side, side, 3)))
    np.testing.assert_array_equal(blocks.paste(found, image), image)


def test_pixels_outside_whole_blocks_stay():
    image = picture("natural", 11, 14)
    pasted = blocks.paste(np.zeros_like(blocks.cut(image, 4)), image)
    assert not pasted[:8, :12].any()
    np.testing.assert_array_equal(pasted[8:], image[8:])
    np.testing.assert_array_equal(pasted[:, 12:], image[:, 12:])


def test_variances_are_those_of_numpy_and_stay_with_shift_and_rotation():
    own = blocks.cut(picture("natural", 24, 24), 4)
    found = blocks.variances(own)
    np.testing.assert_allclose(found, 16**2 * own.var(axis=(1, 2)).sum(axis=-1), atol=1e-6)
    turned = np.rot90(own.astype(int) + np.array([-500, 3, 70]), 1, (1, 2))
    np.testing.assert_array_equal(blocks.variances(turned), found)


@given(PICTURES, st.integers(1, 4), st.integers(1, 8))
def test_of_two_classes_one_has_all_the_greater_variances(image, side, classes):
    measures = blocks.variances(blocks.cut(image, side))
    kinds = blocks.classify(measures, classes)
    assert kinds.shape == measures.shape
    assert np.all((kinds >= 0) & (kinds < classes))
    ordered = kinds[np.argsort(measures, kind="stable")]
    assert np.all(np.diff(ordered) >= 0)
    for value in np.unique(measures):
        assert np.ptp(kinds[measures == value]) == 0


def test_kmeans_finds_groups_of_blocks():
    deviations = np.array([1, 50, 2, 98, 48, 101, 0, 99])
    kinds = blocks.classify(deviations**2, 3)
    np.testing.assert_array_equal(kinds, [0, 1, 0, 2, 1, 2, 0, 2])


@given(SEEDS, st.integers(0, 60), st.integers(1, 6), st.booleans())
def test_blocks_go_to_places_of_their_class(seed, count, classes, stay):
    random = np.random.default_rng(seed)
    measures = random.integers(0, 9, count)
    kinds = blocks.classify(measures, classes)
    counts = np.bincount(kinds, minlength=classes)
    there = blocks.classify_alike(random.integers(0, 9, count), counts)
    np.testing.assert_array_equal(np.bincount(there, minlength=classes), counts)
    goals = blocks.places(kinds, there, stay)
    np.testing.assert_array_equal(np.sort(goals), np.arange(count))
    np.testing.assert_array_equal(there[goals], kinds)
    for kind in range(classes):
        own = goals[kinds == kind]
        moved = own[own != np.flatnonzero(kinds == kind)] if stay else own
        assert np.all(np.diff(moved) > 0)
    if stay:
        np.testing.assert_array_equal(goals == np.arange(count), kinds == there)


def test_the_moved_blocks_show_the_classes_of_their_places():
    """What recovery relies on: of shifted and rotated blocks it sees nothing but variances."""
    own, goal = (blocks.cut(picture("natural", 32, 32, seed), 4) for seed in (1, 2))
    kinds = blocks.classify(blocks.variances(own), 5)
    counts = np.bincount(kinds, minlength=5)
    there = blocks.classify_alike(blocks.variances(goal), counts)
    found = np.empty_like(own)
    found[blocks.places(kinds, there, False)] = own
    np.testing.assert_array_equal(blocks.classify_alike(blocks.variances(found), counts), there)


@pytest.mark.parametrize("classes", [1, 6])
def test_no_blocks_have_no_classes(classes):
    assert blocks.classify(np.zeros(0, np.int64), classes).shape == (0,)
