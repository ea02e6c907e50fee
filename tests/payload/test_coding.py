"""LEB128 and Rice codes: exact, short where they should be, and safe against wrong lengths."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raeg_jax.payload.coding import (
    ByteReader,
    best_rice_parameter,
    read_rice,
    write_rice,
    write_varint,
)

VALUES = st.lists(st.integers(0, 5000), max_size=50).map(lambda v: np.array(v, np.int64))


@given(st.lists(st.integers(0, 2**63 - 1)), st.binary(max_size=5))
def test_numbers_come_back_in_order(numbers, following):
    reader = ByteReader(b"".join(map(write_varint, numbers)) + following)
    assert [reader.next() for _ in numbers] == numbers
    assert reader.rest() == following


@pytest.mark.parametrize(("number", "code"), [(0, "00"), (64, "40"), (600, "d804")])
def test_numbers_are_as_documented(number, code):
    assert write_varint(number).hex() == code


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"\x80", "0 bytes in place of 1"), (b"\x80" * 20, "more than 63 bits")],
)
def test_numbers_without_end_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        ByteReader(data).next()


@given(VALUES, st.integers(0, 31), st.lists(st.integers(0, 1), max_size=9))
def test_values_come_back_and_what_follows_is_left(values, k, tail):
    bits = np.concatenate([write_rice(values, k), np.array(tail, np.uint8)])
    read, rest = read_rice(bits, len(values), k)
    np.testing.assert_array_equal(read, values)
    np.testing.assert_array_equal(rest, tail)


def test_a_rice_code_is_unary_parts_then_low_bits():
    bits = write_rice(np.array([5, 0, 3]), 1)
    assert "".join(map(str, bits)) == "001" + "1" + "01" + "101"


@given(VALUES, st.integers(0, 31))
def test_the_best_parameter_is_the_shortest(values, limit):
    lengths = [len(write_rice(values, k)) for k in range(limit + 1)]
    assert lengths[best_rice_parameter(values, limit)] == min(lengths)


@pytest.mark.parametrize("left", [0, 3, 15])
def test_too_few_bits_are_refused(left):
    bits = write_rice(np.array([9, 1, 30]), 3)
    assert len(bits) == 16
    with pytest.raises(ValueError, match="too few"):
        read_rice(bits[:left], 3, 3)


def test_values_too_large_for_int64_are_refused():
    with pytest.raises(ValueError, match="too large"):
        read_rice(np.ones(64, np.uint8), 1, 62)
