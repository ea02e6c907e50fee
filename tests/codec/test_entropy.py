"""Rice codes: exact, short where they should be, and safe against wrong lengths."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raeg_jax.codec import entropy

VALUES = st.lists(st.integers(0, 5000), max_size=50).map(lambda v: np.array(v, np.int64))


@given(VALUES, st.integers(0, 31), st.lists(st.integers(0, 1), max_size=9))
def test_values_come_back_and_what_follows_is_left(values, k, tail):
    bits = np.concatenate([entropy.write(values, k), np.array(tail, np.uint8)])
    read, rest = entropy.read(bits, len(values), k)
    np.testing.assert_array_equal(read, values)
    np.testing.assert_array_equal(rest, tail)


def test_the_code_is_unary_parts_then_low_bits():
    bits = entropy.write(np.array([5, 0, 3]), 1)
    assert "".join(map(str, bits)) == "001" + "1" + "01" + "101"


@given(VALUES, st.integers(0, 31))
def test_the_best_parameter_is_the_shortest(values, limit):
    lengths = [len(entropy.write(values, k)) for k in range(limit + 1)]
    assert lengths[entropy.best_parameter(values, limit)] == min(lengths)


def test_geometric_values_cost_little_more_than_their_entropy():
    values = np.random.default_rng(0).geometric(0.01, 10_000) - 1
    p = 0.01
    bound = -((1 - p) * np.log2(1 - p) + p * np.log2(p)) / p
    bits = len(entropy.write(values, entropy.best_parameter(values, 31))) / len(values)
    assert bound < bits < 1.03 * bound


@pytest.mark.parametrize("left", [0, 3, 15])
def test_too_few_bits_are_told(left):
    bits = entropy.write(np.array([9, 1, 30]), 3)
    assert len(bits) == 16
    with pytest.raises(ValueError, match="too few"):
        entropy.read(bits[:left], 3, 3)


def test_values_too_large_for_int64_are_told():
    bits = np.ones(64, np.uint8)
    with pytest.raises(ValueError, match="too large"):
        entropy.read(bits, 1, 62)
