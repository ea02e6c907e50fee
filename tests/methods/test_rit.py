"""RIT's transformation: near the adversarial image, and undone exactly."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raeg_jax.methods.rit import (
    RIT,
    classify,
    classify_by_rank,
    cut_blocks,
    destinations,
    paste_blocks,
    variances,
)
from tests.methods.toys import PICTURES, SEEDS, disturbed, picture

# One class, so that blocks stay and can be compared with what they were.
FIXED = RIT(classes=1, smooth=0)


@pytest.mark.parametrize("stay", [False, True])
def test_another_image_can_be_the_goal(stay):
    """As in the transformation's own paper: any image becomes like any other."""
    image, goal = picture("natural", 64, 64, 1), picture("natural", 64, 64, 7)
    made = RIT(classes=6, stay=stay).apply(image, goal.astype(np.float32), 4)
    np.testing.assert_array_equal(RIT.invert(made.values, made.auxiliary), image)
    before, after = (np.mean((x.astype(float) - goal) ** 2) for x in (image, made.values))
    assert after < 0.2 * before


def parts(image, attacked, method=FIXED, side=4):
    """Blocks of the original, of the attacked image, and of what the first became."""
    adversarial, values, _ = method.apply(image, attacked, side)
    return (cut_blocks(x.astype(int), side) for x in (image, adversarial, values))


def turns_of(own, after):
    """Which rotations of a block are, but for a shift of each channel, the other: a list each."""

    def centred(block):
        return block - block.min(axis=(0, 1))

    return [
        [n for n in range(4) if np.array_equal(centred(np.rot90(a, n)), centred(b))]
        for a, b in zip(own, after, strict=True)
    ]


@pytest.mark.parametrize("kind", ["natural", "saturated", "on white"])
def test_shifts_are_multiples_of_the_quantum_but_where_they_are_limited(kind):
    image = picture(kind, 32, 32)
    own, goal, after = parts(image, disturbed(image + np.float32(20) * (image < 128), 20))
    shift = np.rint(after.mean((1, 2)) - own.mean((1, 2))).astype(int)
    at_the_ends = (after.max((1, 2)) >= 255) | (after.min((1, 2)) <= 0)
    assert np.all(shift[~at_the_ends] % 8 == 0)
    nearest = 8 * np.rint((goal.mean((1, 2)) - own.mean((1, 2))) / 8)
    np.testing.assert_array_equal(shift[~at_the_ends], nearest[~at_the_ends])
    assert np.all(np.abs(shift - nearest) <= 8)
    assert np.any(shift)


def test_limited_shifts_leave_the_range_less():
    image = np.clip(picture("noise", 32, 32), 190, 230)
    image[::4, ::4] = 250
    attacked = image + np.float32(8) * (image < 250)
    free, limited = (
        dataclasses.replace(FIXED, limit=limit).apply(image, attacked, 4).values for limit in (0, 2)
    )
    assert free.max() == 258
    assert limited.max() == 256
    np.testing.assert_array_equal(free - limited, 2)


def test_blocks_are_rotated_only_where_that_lowers_the_error():
    image = picture("natural", 48, 48)
    goal = image.copy()
    goal[:24] = paste_blocks(np.rot90(cut_blocks(image[:24], 4), 1, (1, 2)), image[:24])
    own, goal, after = parts(image, goal.astype(np.float32))
    error = np.sum((after - goal) ** 2, axis=(1, 2, 3))
    turns = turns_of(own, after)
    assert all(turns)
    assert sum(1 in found for found in turns) >= len(own) // 2
    for more in (1, 2, 3):
        otherwise = np.sum((np.rot90(after, more, (1, 2)) - goal) ** 2, axis=(1, 2, 3))
        assert np.all(error <= otherwise)


def test_smooth_blocks_are_not_rotated():
    image = picture("natural", 48, 48)
    attacked = np.rot90(image, 2).astype(np.float32)
    own, _, after = parts(image, attacked, dataclasses.replace(FIXED, smooth=20))
    deviation = np.sqrt(own.var((1, 2)).mean(-1))
    turns = turns_of(own, after)
    assert all(0 in found for found, size in zip(turns, deviation, strict=True) if size <= 20)
    assert any(0 not in found for found in turns)


def test_a_class_may_have_any_number_of_blocks():
    """Numbers of blocks are no values of 16 bits: a photograph has a million."""
    image = picture("natural", 400, 400)
    made = RIT().apply(image, disturbed(image), 2)
    np.testing.assert_array_equal(RIT.invert(made.values, made.auxiliary), image)


def test_blocks_that_stay_come_nearer_than_in_scan_order():
    image = picture("natural", 64, 64)
    errors = [
        np.mean((made.values - made.adversarial.astype(int)) ** 2)
        for made in (
            RIT(classes=6, stay=stay).apply(image, disturbed(image), 4) for stay in (True, False)
        )
    ]
    assert errors[0] < 0.7 * errors[1]


def test_incomplete_blocks_stay_as_they_are():
    image = picture("natural", 18, 23)
    values = RIT(classes=6).apply(image, disturbed(image, 40), 4).values
    np.testing.assert_array_equal(values[16:], image[16:])
    np.testing.assert_array_equal(values[:, 20:], image[:, 20:])
    assert np.any(values[:16, :20] != image[:16, :20])


@given(PICTURES, st.integers(1, 9))
def test_cut_blocks_are_those_of_the_loop_and_go_back(image, side):
    rows, columns = image.shape[0] // side, image.shape[1] // side
    expected = [
        image[side * i : side * (i + 1), side * j : side * (j + 1)]
        for i in range(rows)
        for j in range(columns)
    ]
    found = cut_blocks(image, side)
    np.testing.assert_array_equal(found, np.reshape(expected, (-1, side, side, 3)))
    np.testing.assert_array_equal(paste_blocks(found, image), image)


def test_variances_are_those_of_numpy_and_stay_with_shift_and_rotation():
    own = cut_blocks(picture("natural", 24, 24), 4)
    found = variances(own)
    np.testing.assert_allclose(found, 16**2 * own.var(axis=(1, 2)).sum(axis=-1), atol=1e-6)
    turned = np.rot90(own.astype(int) + np.array([-500, 3, 70]), 1, (1, 2))
    np.testing.assert_array_equal(variances(turned), found)


@given(PICTURES, st.integers(1, 4), st.integers(1, 8))
def test_of_two_classes_one_has_all_the_greater_variances(image, side, classes):
    measures = variances(cut_blocks(image, side))
    kinds = classify(measures, classes)
    assert kinds.shape == measures.shape
    assert np.all((kinds >= 0) & (kinds < classes))
    ordered = kinds[np.argsort(measures, kind="stable")]
    assert np.all(np.diff(ordered) >= 0)
    for value in np.unique(measures):
        assert np.ptp(kinds[measures == value]) == 0


def test_kmeans_finds_groups_of_blocks():
    deviations = np.array([1, 50, 2, 98, 48, 101, 0, 99])
    kinds = classify(deviations**2, 3)
    np.testing.assert_array_equal(kinds, [0, 1, 0, 2, 1, 2, 0, 2])


@given(SEEDS, st.integers(0, 60), st.integers(1, 6), st.booleans())
def test_blocks_go_to_places_of_their_class(seed, count, classes, stay):
    random = np.random.default_rng(seed)
    measures = random.integers(0, 9, count)
    kinds = classify(measures, classes)
    counts = np.bincount(kinds, minlength=classes)
    there = classify_by_rank(random.integers(0, 9, count), counts)
    np.testing.assert_array_equal(np.bincount(there, minlength=classes), counts)
    goals = destinations(kinds, there, stay)
    np.testing.assert_array_equal(np.sort(goals), np.arange(count))
    np.testing.assert_array_equal(there[goals], kinds)
    for kind in range(classes):
        own = goals[kinds == kind]
        moved = own[own != np.flatnonzero(kinds == kind)] if stay else own
        assert np.all(np.diff(moved) > 0)
    if stay:
        np.testing.assert_array_equal(goals == np.arange(count), kinds == there)
