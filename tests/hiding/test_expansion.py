"""Expansion stays within 0..255 and is undone, for every sample and every prediction."""

import numpy as np
import pytest

from raeg_jax.hiding.expansion import (
    STEPS,
    WEIGHTS,
    Contraction,
    Expansion,
    Predictor,
    prediction_errors,
)
from raeg_jax.hiding.plan import BINS

# Predictions go beyond 0..255 where the other channels say so.
PREDICTIONS = np.arange(-2 * STEPS, 257 * STEPS, STEPS // 4)
EVERY_PAIR = [
    values.ravel().astype(np.int16)
    for values in np.meshgrid(np.arange(256), PREDICTIONS, indexing="ij")
]
SIZES = [(3, 3), (3, 8), (7, 4), (6, 9)]


def expand(samples, predictions, index):
    """All samples in the bins of one index."""
    bins = [np.full(len(samples), value, np.int16) for value in BINS[index]]
    return Expansion(prediction_errors(samples, predictions), *bins), bins


@pytest.mark.parametrize("index", range(len(BINS)))
@pytest.mark.parametrize("fill", [0, 1])
def test_every_sample_comes_back(index, fill):
    samples, predictions = EVERY_PAIR
    layer, bins = expand(samples, predictions, index)
    bits = np.full(layer.capacity, fill, np.uint8)
    marked = layer.embed(bits)
    assert marked.min() >= 0
    assert marked.max() <= 255
    # The first bins carry nothing.
    assert np.any(marked != samples) == (index > 0)
    inverse = Contraction(prediction_errors(marked, predictions), *bins)
    assert inverse.flag_count == len(layer.flags)
    np.testing.assert_array_equal(inverse.bits, bits)
    np.testing.assert_array_equal(inverse.restore(layer.flags), samples)


@pytest.mark.parametrize("value", [0, 255])
def test_plain_black_and_white_carry_a_bit_a_sample_without_flags(value):
    samples = np.full(100, value, np.int16)
    layer, _ = expand(samples, STEPS * samples, 1)
    assert (layer.capacity, len(layer.flags)) == (100, 0)
    assert np.all(layer.gain() == 1)


@pytest.mark.parametrize(("bit", "expected"), [(0, [100, 99, 102, 97]), (1, [101, 98, 102, 97])])
def test_errors_are_doubled_as_in_the_paper(bit, expected):
    """Thresholds 0 and -1: errors 0 and -1 carry a bit, 1 becomes 2 and -2 becomes -3."""
    samples = np.array([100, 99, 101, 98], np.int16)
    layer, _ = expand(samples, np.full(4, 100 * STEPS, np.int16), 1)
    assert layer.capacity == 2
    np.testing.assert_array_equal(layer.embed(np.full(2, bit, np.uint8)), expected)


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
