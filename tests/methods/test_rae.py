"""RAE's change: constant on superpixels, and undone exactly."""

import numpy as np
import pytest

from raeg_jax.methods.rae import RAE
from raeg_jax.methods.superpixels import means
from raeg_jax.payload.overflow import clip
from tests.methods.toys import KINDS, disturbed, picture


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [2, 5])
def test_the_change_is_constant_on_superpixels_but_where_it_is_clipped(kind, side):
    image = picture(kind, 23, 17)
    adversarial, values, _ = RAE().apply(image, disturbed(image), side)
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
    values = RAE().apply(image, attacked, 4).values
    np.testing.assert_array_equal(values[::4, ::4] - 128, np.rint(means(attacked - 128, 4)))


def test_nothing_is_recorded_beyond_what_clipping_leaves():
    image = np.array([[[250, 3, 255]] * 4] * 4, np.uint8)
    values = RAE().apply(image, image + np.float32([80, -80, 80]), 4).values
    assert values.min() == 0
    assert values.max() == 255


def test_larger_superpixels_take_fewer_bytes():
    image = picture("natural", 32, 32)
    sizes = [len(RAE().apply(image, disturbed(image), side).auxiliary) for side in (2, 4, 8)]
    assert sizes[0] > 3 * sizes[1] > 6 * sizes[2]
