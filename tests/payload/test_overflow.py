"""Values outside 0..255: clipped, coded and put back."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from raeg_jax.errors import DivergedError
from raeg_jax.payload.errors import TamperedPixelsError
from raeg_jax.payload.overflow import Overflow, clip, read_overflow, unclip, write_overflow

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))


@given(
    st.sampled_from([np.int16, np.int32, np.int64, np.uint8]).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            SHAPES,
            elements=st.integers(0, 255) if dtype == np.uint8 else st.integers(-40, 300),
        )
    )
)
def test_clipped_values_are_put_back(values):
    image, overflow = clip(values)
    np.testing.assert_array_equal(image, np.clip(values, 0, 255))
    assert image.dtype == np.uint8
    assert len(overflow.ranks) == np.sum((values < 0) | (values > 255))
    np.testing.assert_array_equal(unclip(image, overflow), values)


def test_a_diverged_generator_is_refused():
    with pytest.raises(DivergedError, match=r"takes samples 89400 beyond 0\.\.255, as one does"):
        clip(np.array([[[0, 255 + 89400, -70000]]]))


def test_ranks_count_saturated_samples_only():
    values = np.array([[[0, 7, 257], [255, 9, -1], [8, 300, 255]]])
    _, overflow = clip(values)
    assert overflow.ranks.tolist() == [1, 3, 4]
    assert overflow.amounts.tolist() == [2, 1, 45]


def test_an_image_with_fewer_saturated_samples_is_refused():
    image, overflow = clip(np.full((2, 2, 3), 256))
    image[1, 1, 2] = 254
    with pytest.raises(TamperedPixelsError, match="11 samples"):
        unclip(image, overflow)


@st.composite
def overflows(draw):
    ranks = sorted(draw(st.sets(st.integers(0, 10**6), min_size=1, max_size=40)))
    amounts = draw(st.lists(st.integers(1, 3000), min_size=len(ranks), max_size=len(ranks)))
    return Overflow(np.array(ranks), np.array(amounts))


@given(overflows())
@example(Overflow(np.array([2**40]), np.array([65535])))
def test_the_code_is_exact(overflow):
    read = read_overflow(write_overflow(overflow), len(overflow.ranks))
    np.testing.assert_array_equal(read, overflow)


def test_three_values_among_two_thousand_take_six_bytes():
    assert len(write_overflow(Overflow(np.array([100, 900, 1500]), np.array([2, 1, 4])))) == 6


@given(st.binary(max_size=60), st.integers(1, 2**62))
def test_any_bytes_are_read_or_refused(data, count):
    try:
        read = read_overflow(data, count)
    except ValueError:
        return
    assert len(read.ranks) == len(read.amounts) == count
    assert np.all(np.diff(read.ranks) > 0)
    assert np.all(read.amounts > 0)


@pytest.mark.parametrize("tail", [b"\0", b"\1"])
def test_bytes_after_the_code_are_refused(tail):
    code = write_overflow(Overflow(np.array([5, 9]), np.array([1, 2])))
    with pytest.raises(ValueError, match="bytes are left"):
        read_overflow(code + tail, 2)
