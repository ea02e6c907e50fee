"""Numbers of any size as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raeg_jax.codec import varint


@given(st.lists(st.integers(0, 2**63 - 1)), st.binary(max_size=5))
def test_numbers_come_back_in_order(numbers, following):
    data = varint.Reader(b"".join(map(varint.write, numbers)) + following)
    assert [data.next() for _ in numbers] == numbers
    assert data.rest() == following


@pytest.mark.parametrize(("number", "code"), [(0, "00"), (64, "40"), (600, "d804")])
def test_numbers_are_as_documented(number, code):
    assert varint.write(number).hex() == code


def test_the_end_is_told():
    with pytest.raises(IndexError):
        varint.Reader(b"\x80").next()
    with pytest.raises(ValueError, match="more than 63 bits"):
        varint.Reader(b"\x80" * 20).next()
    with pytest.raises(ValueError, match="2 bytes in place of 3"):
        varint.Reader(b"abc", 1).take(3)
