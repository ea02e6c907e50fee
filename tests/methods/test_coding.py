"""Small integers as bytes: what went in comes out, and all else is told."""

import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raeg_jax.methods.coding import decode, encode
from raeg_jax.payload import coding
from raeg_jax.payload.coding import ByteReader

SEEDS = st.integers(0, 2**32 - 1)


def geometric(seed, count, share):
    random = np.random.default_rng(seed)
    return (random.geometric(share, count) - 1) * random.choice([-1, 1], count)


def normal(seed, count):
    return np.rint(np.random.default_rng(seed).normal(0, 4, count)).astype(int)


def uniform(seed, count):
    return np.random.default_rng(seed).integers(-2, 3, count)


NATURAL = st.builds(geometric, SEEDS, st.integers(0, 400), st.floats(0.001, 1))
ANY = st.lists(st.integers(-(2**15), 2**15 - 1), max_size=60).map(np.array)


@given(NATURAL | ANY, st.binary(max_size=5))
@example(np.zeros(5000, int), b"")
@example(np.tile([-1, 300, 7], 500), b"rest")
def test_integers_come_back(values, following):
    data = ByteReader(encode(values) + following)
    np.testing.assert_array_equal(decode(data, values.size), values)
    assert data.rest() == following


@pytest.mark.parametrize(
    ("values", "coder", "size"),
    [(normal(0, 200), 0, 120), (uniform(0, 3000), 1, 1000), (np.zeros(3000, int), 2, 25)],
    ids=["few", "uniform", "zeros"],
)
def test_each_coder_is_best_for_some(values, coder, size):
    data = encode(values)
    assert data[0] == coder
    assert len(data) <= size


def test_a_code_is_near_the_entropy_of_its_values():
    values = normal(1, 3000)
    share = np.unique(values, return_counts=True)[1] / len(values)
    entropy = -np.sum(share * np.log2(share)) * len(values) / 8
    assert entropy < len(encode(values)) < 1.05 * entropy


@given(NATURAL, st.data())
def test_cut_off_codes_are_told(values, data):
    code = encode(values)
    kept = data.draw(st.integers(0, len(code) - 1))
    with pytest.raises((ValueError, IndexError)):
        decode(ByteReader(code[:kept]), len(values))


@given(NATURAL, st.integers(-50, 5000))
def test_another_number_of_values_is_told_or_read_as_such(values, more):
    count = max(0, len(values) + more)
    try:
        found = decode(ByteReader(encode(values)), count)
    except ValueError:
        return
    assert len(found) == count


@given(st.binary(max_size=60), st.integers(0, 2), st.booleans(), st.integers(0, 100))
def test_any_bytes_are_read_or_told(code, coder, wide, count):
    data = bytes([coder | 128 * wide, len(code)]) + code
    try:
        found = decode(ByteReader(data), count)
    except ValueError:
        return
    assert found.shape == (count,)
    np.testing.assert_array_equal(decode(ByteReader(encode(found)), count), found)


def test_an_unknown_coder_is_told():
    with pytest.raises(ValueError, match="coder 9 is unknown"):
        decode(ByteReader(b"\x09\x01\x00"), 1)


def test_a_value_that_does_not_fit_is_told():
    with pytest.raises(ValueError, match="40000 is not in"):
        encode(np.array([1, 40_000, 2]))


def test_a_bomb_takes_no_memory():
    zeros = zlib.compressobj(9, zlib.DEFLATED, -15)
    code = zeros.compress(bytes(10_000_000)) + zeros.flush()
    bomb = b"\2" + coding.write_varint(len(code)) + code
    tracemalloc.start()
    with pytest.raises(ValueError, match="are no code of 10"):
        decode(ByteReader(bomb), 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
