"""Expansion stays within 0..255 and is undone, for every sample and every prediction."""

import numpy as np
import pytest

from raeg_jax.codec.expansion import Contraction, Expansion, errors
from raeg_jax.codec.plan import WAYS
from raeg_jax.codec.prediction import STEPS

# Predictions go beyond 0..255 where the other channels say so.
PREDICTIONS = np.arange(-2 * STEPS, 257 * STEPS, STEPS // 4)


def every_pair():
    samples, predictions = np.meshgrid(np.arange(256), PREDICTIONS, indexing="ij")
    return samples.ravel().astype(np.int16), predictions.ravel().astype(np.int16)


def way_for_all(way, number):
    start, width = WAYS[way]
    return np.full(number, start, np.int16), np.full(number, width, np.int16)


@pytest.mark.parametrize("way", range(1, len(WAYS)))
@pytest.mark.parametrize("fill", [0, 1])
def test_every_sample_comes_back(way, fill):
    samples, predictions = every_pair()
    plan = way_for_all(way, len(samples))
    layer = Expansion(errors(samples, predictions), *plan)
    bits = np.full(layer.capacity, fill, np.uint8)
    marked = layer.embed(bits)
    assert marked.min() >= 0
    assert marked.max() <= 255
    assert np.any(marked != samples)
    back = Contraction(errors(marked, predictions), *plan)
    assert back.unsure == len(layer.flags)
    np.testing.assert_array_equal(back.bits, bits)
    np.testing.assert_array_equal(back.restore(layer.flags), samples)


def test_the_first_way_changes_nothing():
    samples, predictions = every_pair()
    layer = Expansion(errors(samples, predictions), *way_for_all(0, len(samples)))
    assert layer.capacity == 0
    assert not len(layer.flags)
    np.testing.assert_array_equal(layer.embed(np.zeros(0, np.uint8)), samples)


@pytest.mark.parametrize("value", [0, 255])
def test_plain_black_and_white_carry_a_bit_a_sample_without_flags(value):
    samples = np.full(100, value, np.int16)
    layer = Expansion(errors(samples, STEPS * samples), *way_for_all(1, 100))
    assert layer.capacity == 100
    assert not len(layer.flags)
    assert np.all(layer.gain() == 1)


@pytest.mark.parametrize(
    ("bit", "expected"),
    [(0, [100, 99, 102, 97]), (1, [101, 98, 102, 97])],
)
def test_errors_are_doubled_as_in_the_paper(bit, expected):
    """Thresholds 0 and -1: errors 0 and -1 carry a bit, 1 becomes 2 and -2 becomes -3."""
    samples = np.array([100, 99, 101, 98], np.int16)
    layer = Expansion(errors(samples, np.full(4, 100 * STEPS, np.int16)), *way_for_all(1, 4))
    assert layer.capacity == 2
    np.testing.assert_array_equal(layer.embed(np.full(2, bit, np.uint8)), expected)
