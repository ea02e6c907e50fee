"""The predictor knows the other layers only, and is the rhombus mean for one channel."""

import numpy as np
import pytest

from raeg_jax.hiding.prediction import STEPS, WEIGHTS, Predictor

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
    layer = colours(*size) == colour
    changed = planes.copy()
    changed[-1][layer] = 255 - changed[-1][layer]

    def known(planes):
        predictor, channel = Predictor(planes), channels - 1
        predictions = [predictor.prediction(channel, weight) for weight in WEIGHTS]
        return np.stack([*predictions, predictor.level(channel)])[:, layer]

    np.testing.assert_array_equal(known(planes), known(changed))


@pytest.mark.parametrize("size", SIZES)
def test_without_weight_it_is_the_mean_of_four_neighbours(size):
    planes = random_planes(3, *size)
    # Beyond the edge lies the reflection of what is within.
    padded = np.pad(planes[1], 1, "reflect").astype(int)
    total = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    np.testing.assert_array_equal(Predictor(planes).prediction(1, 0), total * STEPS // 4)


def test_grey_in_three_channels_is_predicted_exactly():
    planes = np.repeat(random_planes(1, 6, 9), 3, axis=0)
    np.testing.assert_array_equal(Predictor(planes).prediction(1, 4), STEPS * planes[1])


@pytest.mark.parametrize("colour", [0, 1])
def test_the_largest_differences_are_still_predicted(colour):
    planes = np.zeros((3, 8, 8), np.int16)
    planes[:, colours(8, 8) == colour] = 255
    planes[1] = 255 - planes[1]
    predictor = Predictor(planes)
    # The other channels are 255 off their rhombus mean, and this one's is 255 or 0.
    expected = STEPS * np.where(planes[1] == 0, 255 + 255, -255)
    np.testing.assert_array_equal(predictor.prediction(1, 4), expected)
    assert np.ptp(predictor.level(1)) == 0
