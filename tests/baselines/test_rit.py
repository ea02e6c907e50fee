"""RIT's transformation: near the adversarial image, and undone exactly."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raeg_jax.baselines import blocks
from raeg_jax.baselines.rit import RIT
from raeg_jax.errors import UserError
from tests.baselines.toys import KINDS, PICTURES, SEEDS, disturbed, picture

EXAMPLES = settings(derandomize=True, max_examples=60)
# One class, so that blocks stay and can be compared with what they were.
FIXED = RIT(classes=1, smooth=0)


@EXAMPLES
@given(
    PICTURES,
    st.integers(1, 6),
    st.builds(
        RIT,
        classes=st.sampled_from([1, 2, 6, 255]),
        quantum=st.sampled_from([1, 8]),
        limit=st.sampled_from([0, 8, 255]),
        smooth=st.sampled_from([0, 6]),
        stay=st.booleans(),
    ),
    st.sampled_from([1, 8, 60]),
    SEEDS,
)
def test_any_image_comes_back(image, side, method, size, seed):
    made = method.disguise(image, disturbed(image, size, seed), side)
    np.testing.assert_array_equal(RIT.reveal(made.values, made.auxiliary), image)


@pytest.mark.parametrize("stay", [False, True])
def test_another_image_can_be_the_goal(stay):
    """As in the transformation's own paper: any image becomes like any other."""
    image, goal = picture("natural", 64, 64, 1), picture("natural", 64, 64, 7)
    made = RIT(classes=6, stay=stay).disguise(image, goal.astype(np.float32), 4)
    np.testing.assert_array_equal(RIT.reveal(made.values, made.auxiliary), image)
    before, after = (np.mean((x.astype(float) - goal) ** 2) for x in (image, made.values))
    assert after < 0.2 * before


def parts(image, attacked, method=FIXED, side=4):
    """Blocks of the original, of the attacked image, and of what the first became."""
    adversarial, values, _ = method.disguise(image, attacked, side)
    return (blocks.cut(x.astype(int), side) for x in (image, adversarial, values))


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
        dataclasses.replace(FIXED, limit=limit).disguise(image, attacked, 4).values
        for limit in (0, 2)
    )
    assert free.max() == 258
    assert limited.max() == 256
    np.testing.assert_array_equal(free - limited, 2)


def test_blocks_are_rotated_only_where_that_lowers_the_error():
    image = picture("natural", 48, 48)
    goal = image.copy()
    goal[:24] = blocks.paste(np.rot90(blocks.cut(image[:24], 4), 1, (1, 2)), image[:24])
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
    made = RIT().disguise(image, disturbed(image), 2)
    np.testing.assert_array_equal(RIT.reveal(made.values, made.auxiliary), image)


def test_blocks_that_stay_come_nearer_than_in_scan_order():
    image = picture("natural", 64, 64)
    errors = [
        np.mean((made.values - made.adversarial.astype(int)) ** 2)
        for made in (
            RIT(classes=6, stay=stay).disguise(image, disturbed(image), 4) for stay in (True, False)
        )
    ]
    assert errors[0] < 0.7 * errors[1]


def test_incomplete_blocks_stay_as_they_are():
    image = picture("natural", 18, 23)
    values = RIT(classes=6).disguise(image, disturbed(image, 40), 4).values
    np.testing.assert_array_equal(values[16:], image[16:])
    np.testing.assert_array_equal(values[:, 20:], image[:, 20:])
    assert np.any(values[:16, :20] != image[:16, :20])


@pytest.mark.parametrize("kind", KINDS)
def test_changed_auxiliary_data_are_told_or_read(kind):
    image = picture(kind, 13, 10)
    made = RIT(classes=6).disguise(image, disturbed(image), 4)
    with pytest.raises(ValueError, match="1 bytes too many"):
        RIT.reveal(made.values, made.auxiliary + b"\0")
    for position in range(len(made.auxiliary)):
        with pytest.raises((ValueError, IndexError)):
            RIT.reveal(made.values, made.auxiliary[:position])
        for flipped in (1, 255):
            changed = bytearray(made.auxiliary)
            changed[position] ^= flipped
            try:
                found = RIT.reveal(made.values, bytes(changed))
            except (ValueError, IndexError):
                continue
            assert found.shape == image.shape


@pytest.mark.parametrize(
    "wrong", [{"classes": 0}, {"quantum": 256}, {"limit": -1}, {"smooth": 1.5}]
)
def test_impossible_settings_are_told(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(UserError, match=f"{name}={value} is impossible: it must be"):
        RIT(**wrong)
