"""Expansion stays within 0..255 and is undone, for every sample and every prediction."""

import numpy as np
import pytest

from raeg_jax.hiding.expansion import Contraction, Expansion, prediction_errors
from raeg_jax.hiding.plan import BINS
from raeg_jax.hiding.prediction import STEPS

# Predictions go beyond 0..255 where the other channels say so.
PREDICTIONS = np.arange(-2 * STEPS, 257 * STEPS, STEPS // 4)
EVERY_PAIR = [
    values.ravel().astype(np.int16)
    for values in np.meshgrid(np.arange(256), PREDICTIONS, indexing="ij")
]


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
