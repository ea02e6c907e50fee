"""Means over squares of pixels, and what an attack on them can do."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from raeg_jax.adversarial.losses import margin
from raeg_jax.adversarial.pgd import pgd_l2
from raeg_jax.methods.superpixels import OnSuperpixels, extremes, means, spread
from tests.methods.toys import PICTURES, SIDES, Linear, picture


def squares(image, side):
    """Each superpixel's samples, in a loop."""
    for top in range(0, image.shape[0], side):
        for left in range(0, image.shape[1], side):
            yield image[top : top + side, left : left + side]


@given(PICTURES, SIDES)
def test_means_and_extremes_are_those_of_the_loop(image, side):
    found = means(image.astype(float), side), *extremes(image, side)
    for statistic, values in zip((np.mean, np.min, np.max), found, strict=True):
        expected = [statistic(square, axis=(0, 1)) for square in squares(image, side)]
        np.testing.assert_allclose(values.reshape(-1, 3), expected)


@given(PICTURES, SIDES)
def test_spread_values_are_constant_on_squares_and_have_them_as_means(image, side):
    own = means(image.astype(float), side)
    whole = spread(own, image.shape[:2], side)
    assert whole.shape == image.shape
    assert all(np.ptp(square, axis=(0, 1)).max() == 0 for square in squares(whole, side))
    np.testing.assert_allclose(means(whole, side), own)


@pytest.mark.parametrize("side", [2, 5])
def test_batches_of_jax_are_those_of_numpy(side):
    images = np.stack([picture("natural", 12, 9, seed) for seed in range(2)]).astype(np.float32)
    found = means(jnp.asarray(images), side)
    np.testing.assert_allclose(found, [means(image, side) for image in images], rtol=1e-6)
    np.testing.assert_array_equal(
        spread(found, (12, 9), side), spread(np.asarray(found), (12, 9), side)
    )


def test_averaging_takes_nothing_from_an_attack_that_knows_of_it():
    """Of a plain attack on noise-like weights, averages over 16 pixels leave a quarter."""
    images, labels = np.full((2, 16, 16, 3), 128, np.float32), np.array([0, 1])
    net = Linear(16, 16)

    def fall(seen):
        change = pgd_l2([seen], images, labels, 100.0, 3) - images
        averaged = images + spread(means(change, 4), (16, 16), 4)
        before, after = (margin(net(x), labels) for x in (images, averaged))
        return np.asarray(before - after), np.asarray(change), np.asarray(averaged)

    plain, _, _ = fall(net)
    aware, change, averaged = fall(OnSuperpixels(net, images, 4))
    np.testing.assert_allclose(images + change, averaged, atol=1e-3)
    assert np.all(aware > 2 * plain)
