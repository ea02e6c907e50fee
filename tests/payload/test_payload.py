"""What a payload may hold, its content as bytes, and the digest that guards the pixels."""

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raeg_jax.payload.errors import (
    DamagedPayloadError,
    NewerFormatError,
    PayloadError,
    TamperedPixelsError,
)
from raeg_jax.payload.overflow import Overflow
from raeg_jax.payload.payload import (
    MIN_CONTENT_SIZE,
    check_pixels,
    digest,
    draw_nonce,
    read_content,
    write_content,
)
from tests.payload.payloads import SMALL, WITH_AUXILIARY, equal, payloads

IMAGE = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)


def overflow(ranks, amounts):
    return {"overflow": Overflow(np.array(ranks, int), np.array(amounts, int))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nonce": bytes(11)}, "nonce has 11 bytes, not 12"),
        ({"generator_id": bytes(9)}, "generator_id has 9"),
        ({"sha256": b""}, "sha256 has 0"),
        ({"height": 0}, "height is 0, not in 1"),
        ({"width": 2**24}, "width is 16777216"),
        ({"tile": -1}, "tile is -1"),
        ({"batch": -1}, "batch is -1"),
        ({"orientation": 9}, r"orientation is 9, not in 1\.\.8"),
        ({"mode": 4}, "4 is not a valid SourceMode"),
        ({"tile": 32}, r"side_info is \[1, 4\], not \[4, columns\]"),
        ({"side_info": np.array([1, 2])}, r"side_info is \[2\]"),
        ({"side_info": np.array([[1, -2]])}, r"side_info is -2\.\.1"),
        ({"side_info": np.array([[2**32]])}, r"not in 0\.\.4294967295"),
        (overflow([1, 2], [1]), "ranks for"),
        (overflow([2, 2], [1, 1]), "don't increase"),
        (overflow([-1, 2], [1, 1]), "don't increase"),
        (overflow([3 * 64 * 64], [1]), r"within 0\.\.12287"),
        (overflow([1], [0]), r"amounts are 0\.\.0"),
        (overflow([1], [2**16]), "amounts are 65536"),
    ],
)
def test_values_outside_the_format_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change)


@pytest.mark.parametrize(
    ("height", "width", "tile", "tiles"),
    [(64, 64, 0, 1), (64, 64, 64, 1), (65, 64, 64, 2), (100, 200, 64, 8), (40, 40, 64, 1)],
)
def test_cut_off_tiles_count(height, width, tile, tiles):
    change = {"height": height, "width": width, "tile": tile, "side_info": np.zeros((tiles, 4))}
    assert dataclasses.replace(SMALL, **change).tiles == tiles


def test_a_batch_binds_recovery_to_a_machine():
    assert SMALL.portable
    assert not dataclasses.replace(SMALL, batch=16).portable


def test_nonces_differ():
    assert len({draw_nonce() for _ in range(5)}) == 5


def test_the_digest_is_that_of_the_format_wherever_samples_lie():
    assert digest(IMAGE) == hashlib.sha256(b"raeg pixels 5 4 " + bytes(range(60))).digest()
    assert digest(np.asfortranarray(IMAGE)) == digest(IMAGE)
    assert digest(IMAGE[::-1]) == digest(IMAGE[::-1].copy())


def test_changed_or_reshaped_pixels_are_refused():
    payload = dataclasses.replace(SMALL, sha256=digest(IMAGE))
    check_pixels(payload, IMAGE)
    changed = IMAGE.copy()
    changed[4, 3, 2] ^= 1
    for image in (changed, IMAGE.reshape(4, 5, 3), IMAGE[:4]):
        with pytest.raises(TamperedPixelsError, match="has been changed"):
            check_pixels(payload, image)


@pytest.mark.parametrize("image", [IMAGE.astype(int), IMAGE[..., :1], IMAGE[0]])
def test_other_arrays_have_no_digest(image):
    with pytest.raises(ValueError, match=r"expected uint8 \[H, W, 3\]"):
        digest(image)


DIGEST = bytes(32)
HUGE = b"\xff" * 8 + b"\x7f"


def read(content):
    return read_content(content, SMALL.nonce, SMALL.generator_id)


@given(payloads())
def test_any_payload_is_read_as_it_was(payload):
    content = write_content(payload)
    assert equal(read_content(content, payload.nonce, payload.generator_id), payload)


@pytest.mark.parametrize(
    ("payload", "content"),
    [
        # Flags, size, layout, side information, count, clipped values: as in docs/format.md.
        (SMALL, "00 4040 08 11091f02 03 4089641f5762"),
        (WITH_AUXILIARY, f"80 4040 08 11091f02 c801 {bytes(range(200)).hex()} 03 4089641f5762"),
    ],
    ids=["small", "auxiliary"],
)
def test_the_content_is_as_documented(payload, content):
    assert write_content(payload) == SMALL.sha256 + bytes.fromhex(content)


def test_the_smallest_content_has_the_least_size():
    least = dataclasses.replace(SMALL, side_info=np.zeros((1, 0)), **overflow([], []))
    assert len(write_content(least)) == MIN_CONTENT_SIZE


def check_read_or_refused(content):
    try:
        payload = read(content)
    except PayloadError:
        return
    assert equal(read(write_content(payload)), payload)


@given(st.binary(max_size=100), st.integers(0, 100))
def test_any_bytes_are_read_or_refused(data, filled):
    # The digest may be anything, so that examples go to what follows it.
    check_read_or_refused((DIGEST + data)[: 32 + filled])


@given(payloads(), st.data())
def test_changed_bytes_are_read_or_refused(payload, data):
    content = bytearray(write_content(payload))
    position = data.draw(st.integers(32, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    check_read_or_refused(bytes(content))


@given(payloads(), st.data())
def test_cut_off_bytes_are_refused(payload, data):
    content = write_content(payload)
    with pytest.raises(DamagedPayloadError):
        read(content[: data.draw(st.integers(0, len(content) - 1))])


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (b"", "0 bytes in place of 1"),
        (b"\0", "0 bytes in place of 1"),
        (b"\0" + HUGE + HUGE + b"\2\0\0", "a size of"),
        (b"\0\xff\xff\xff\7\xff\xff\xff\7\3\1\0\0", "tiles"),  # 2^48 of one pixel.
        (b"\0\1\1" + HUGE + b"\0\0", "1 tiles"),  # Columns.
        (b"\0\1\1\2\0" + HUGE + b"\0", "too few"),  # Clipped values.
        (b"\0\1\1\2" + b"\x80" * 9 + b"\1\0", "more than 63 bits"),
        (b"\0\1\1\2\0\0\0", "1 bytes too many"),
        (b"\x08\1\1" + HUGE + b"\2\0\0", "batch is"),
        (b"\x80\1\1\0\0\0", "no auxiliary data"),
        (b"\x80\1\1\0\5abc\0", "4 bytes in place of 5"),
        (b"\x80\1\1\0" + HUGE + b"\0", "bytes in place"),  # Auxiliary data.
    ],
)
def test_impossible_numbers_are_refused_and_take_no_memory(rest, message):
    with pytest.raises(DamagedPayloadError, match=f"{message}.*: take an untouched copy"):
        read(DIGEST + rest)


def test_many_tiles_without_side_information_are_read():
    tiled = dataclasses.replace(SMALL, tile=1, side_info=np.zeros((64 * 64, 0)), **overflow([], []))
    assert equal(read(write_content(tiled)), tiled)


def test_an_unknown_kind_of_source_asks_for_an_update():
    with pytest.raises(NewerFormatError, match="update raeg-jax"):
        read(DIGEST + b"\x70\1\1\2\0\0")
