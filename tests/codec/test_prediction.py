"""The predictor knows the other layers only, and is the rhombus where there is one channel."""

import numpy as np
import pytest

from raeg_jax.codec.prediction import STEPS, WEIGHTS, Surroundings

SIZES = [(3, 3), (3, 8), (7, 4), (6, 9)]


def random_planes(channels, height, width):
    return np.random.default_rng(0).integers(0, 256, (channels, height, width)).astype(np.int16)


def colours(height, width):
    return np.add.outer(np.arange(height), np.arange(width)) % 2


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("colour", [0, 1])
def test_a_layer_is_predicted_without_its_own_samples(size, channels, colour):
    planes = random_planes(channels, *size)
    own = colours(*size) == colour
    changed = planes.copy()
    changed[-1][own] = 255 - changed[-1][own]
    before, after = Surroundings(planes), Surroundings(changed)
    for weight in WEIGHTS:
        np.testing.assert_array_equal(
            before.prediction(channels - 1, weight)[own],
            after.prediction(channels - 1, weight)[own],
        )
    np.testing.assert_array_equal(before.level(channels - 1)[own], after.level(channels - 1)[own])


@pytest.mark.parametrize("size", SIZES)
def test_without_weight_it_is_the_mean_of_four_neighbours(size):
    planes = random_planes(3, *size)
    height, width = size
    for row in range(height):
        for column in range(width):
            # Beyond the edge lies the reflection of what is within.
            above, below = abs(row - 1), height - 1 - abs(height - 2 - row)
            left, right = abs(column - 1), width - 1 - abs(width - 2 - column)
            neighbours = [(above, column), (below, column), (row, left), (row, right)]
            mean = sum(planes[1][place] for place in neighbours) * STEPS // 4
            assert Surroundings(planes).prediction(1, 0)[row, column] == mean


def test_grey_in_three_channels_is_predicted_exactly():
    planes = np.repeat(random_planes(1, 6, 9), 3, axis=0)
    np.testing.assert_array_equal(Surroundings(planes).prediction(1, 4), STEPS * planes[1])


@pytest.mark.parametrize("colour", [0, 1])
def test_the_largest_differences_are_still_predicted(colour):
    planes = np.zeros((3, 8, 8), np.int16)
    planes[:, colours(8, 8) == colour] = 255
    planes[1] = 255 - planes[1]
    around = Surroundings(planes)
    # The other channels are 255 off their rhombus, and this one's rhombus is 255 or 0.
    expected = STEPS * np.where(planes[1] == 0, 255 + 255, -255)
    np.testing.assert_array_equal(around.prediction(1, 4), expected)
    assert np.ptp(around.level(1)) == 0
