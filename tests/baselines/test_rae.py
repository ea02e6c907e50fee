"""RAE's change: constant on superpixels, and undone exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raeg_jax.baselines.rae import RAE
from raeg_jax.baselines.superpixels import means
from raeg_jax.errors import UserError
from raeg_jax.payload.overflow import clip
from tests.baselines.toys import KINDS, PICTURES, SEEDS, disturbed, picture

EXAMPLES = settings(derandomize=True, max_examples=60)


@EXAMPLES
@given(PICTURES, st.sampled_from([1, 2, 3, 4, 16, 255]), st.sampled_from([1, 8, 60]), SEEDS)
def test_any_image_comes_back(image, side, size, seed):
    made = RAE().disguise(image, disturbed(image, size, seed), side)
    np.testing.assert_array_equal(RAE.reveal(made.values, made.auxiliary), image)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [2, 5])
def test_the_change_is_constant_on_superpixels_but_where_it_is_clipped(kind, side):
    image = picture(kind, 23, 17)
    adversarial, values, _ = RAE().disguise(image, disturbed(image), side)
    change = values - image.astype(int)
    for top in range(0, 23, side):
        for left in range(0, 17, side):
            assert np.all(np.ptp(change[top : top + side, left : left + side], axis=(0, 1)) == 0)
    inside = (values >= 0) & (values <= 255)
    np.testing.assert_array_equal(adversarial[inside], values[inside])
    np.testing.assert_array_equal(adversarial, clip(values)[0])
    assert np.any(adversarial != image)


def test_the_change_is_the_mean_of_what_was_found():
    image = np.full((8, 8, 3), 128, np.uint8)
    attacked = disturbed(image)
    values = RAE().disguise(image, attacked, 4).values
    np.testing.assert_array_equal(values[::4, ::4] - 128, np.rint(means(attacked - 128, 4)))


def test_nothing_is_recorded_beyond_what_clipping_leaves():
    image = np.array([[[250, 3, 255]] * 4] * 4, np.uint8)
    values = RAE().disguise(image, image + np.float32([80, -80, 80]), 4).values
    assert values.min() == 0
    assert values.max() == 255


def test_larger_superpixels_take_fewer_bytes():
    image = picture("natural", 32, 32)
    sizes = [len(RAE().disguise(image, disturbed(image), side).auxiliary) for side in (2, 4, 8)]
    assert sizes[0] > 3 * sizes[1] > 6 * sizes[2]


@pytest.mark.parametrize("kind", KINDS)
def test_changed_auxiliary_data_are_told_or_read(kind):
    image = picture(kind, 13, 10)
    made = RAE().disguise(image, disturbed(image), 4)
    with pytest.raises((ValueError, IndexError)):
        RAE.reveal(made.values, made.auxiliary + b"\0")
    for position in range(len(made.auxiliary)):
        with pytest.raises((ValueError, IndexError)):
            RAE.reveal(made.values, made.auxiliary[:position])
        changed = bytearray(made.auxiliary)
        changed[position] ^= 255
        try:
            found = RAE.reveal(made.values, bytes(changed))
        except (ValueError, IndexError):
            continue
        assert found.shape == image.shape


@pytest.mark.parametrize("sides", [(), (0,), (2, 256), (2.5,)])
def test_impossible_sides_are_told(sides):
    with pytest.raises(UserError, match=r"sides=\(.* is impossible: "):
        RAE(sides)
