"""The secret part of a payload as bytes."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raeg_jax.codec import content
from raeg_jax.codec.errors import DamagedPayloadError, NewerFormatError, PayloadError
from raeg_jax.codec.overflow import Overflow
from tests.codec.payloads import SMALL, WITH_AUXILIARY, equal, payloads

SHA = bytes(32)
NOTHING = Overflow(np.array([], int), np.array([], int))


def read(data):
    return content.from_bytes(data, SMALL.nonce, SMALL.generator_id)


@given(payloads())
def test_any_payload_is_read_as_it_was(payload):
    data = content.to_bytes(payload)
    assert equal(content.from_bytes(data, payload.nonce, payload.generator_id), payload)


def test_small_content_is_short():
    # Flags, size, layout, codes, count, clipped values: the example of docs/format.md.
    example = "00 4040 08 11091f02 03 4089641f5762"
    assert content.to_bytes(SMALL) == SMALL.sha256 + bytes.fromhex(example)
    least = dataclasses.replace(SMALL, codes=np.zeros((1, 0), int), overflow=NOTHING)
    assert len(content.to_bytes(least)) == content.MIN_SIZE


def test_auxiliary_data_stand_between_codes_and_clipped_values():
    before, after = "80 4040 08 11091f02", "03 4089641f5762"
    expected = bytes.fromhex(f"{before} c801 {bytes(range(200)).hex()} {after}")
    assert content.to_bytes(WITH_AUXILIARY) == SMALL.sha256 + expected


@given(st.binary(max_size=100), st.integers(0, 100))
def test_any_bytes_are_read_or_told(data, filled):
    # The digest may be anything, so that examples go to what follows it.
    with_digest = (SHA + data)[: 32 + filled]
    try:
        payload = read(with_digest)
    except PayloadError:
        return
    assert equal(read(content.to_bytes(payload)), payload)


@given(payloads(), st.data())
def test_changed_bytes_are_read_or_told(payload, data):
    raw = bytearray(content.to_bytes(payload))
    position = data.draw(st.integers(32, len(raw) - 1))
    raw[position] ^= data.draw(st.integers(1, 255))
    try:
        changed = read(bytes(raw))
    except PayloadError:
        return
    assert equal(read(content.to_bytes(changed)), changed)


@given(payloads(), st.data())
def test_cut_off_bytes_are_told(payload, data):
    raw = content.to_bytes(payload)
    with pytest.raises(DamagedPayloadError):
        read(raw[: data.draw(st.integers(0, len(raw) - 1))])


HUGE = b"\xff" * 8 + b"\x7f"


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"\0",
        b"\0" + HUGE + HUGE + b"\2\0\0",  # Size.
        b"\0\xff\xff\xff\7\xff\xff\xff\7\3\1\0\0",  # 2^48 tiles of one pixel.
        b"\0\1\1" + HUGE + b"\0\0",  # Columns.
        b"\0\1\1\2\0" + HUGE + b"\0",  # Clipped values.
        b"\0\1\1\2" + b"\x80" * 9 + b"\1\0",  # A number without end.
        b"\0\1\1\2\0\0\0",  # A byte too many.
        b"\x08\1\1" + HUGE + b"\2\0\0",  # Batch.
    ],
)
def test_impossible_numbers_are_told_and_take_no_memory(rest):
    with pytest.raises(DamagedPayloadError, match="take an untouched copy"):
        read(SHA + rest)


@pytest.mark.parametrize(
    ("auxiliary", "message"),
    [(b"\0", "no auxiliary data"), (b"\5abc", "4 bytes in place of 5"), (HUGE, "bytes in place")],
)
def test_missing_auxiliary_data_are_told(auxiliary, message):
    with pytest.raises(DamagedPayloadError, match=message):
        read(SHA + b"\x80\1\1\0" + auxiliary + b"\0")


def test_many_tiles_without_codes_are_read():
    tiled = dataclasses.replace(SMALL, tile=1, codes=np.zeros((64 * 64, 0), int), overflow=NOTHING)
    assert equal(read(content.to_bytes(tiled)), tiled)


def test_an_unknown_kind_of_source_asks_for_an_update():
    with pytest.raises(NewerFormatError, match="update raeg-jax"):
        read(SHA + b"\x70\1\1\2\0\0")
