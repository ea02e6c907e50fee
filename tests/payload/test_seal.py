"""Locked payloads: who can read what, and which error each fault gets."""

import struct
import zlib

import numpy as np
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from hypothesis import example, given
from hypothesis import strategies as st
from skimage.data import astronaut

from raeg_jax import hiding
from raeg_jax.errors import UserError
from raeg_jax.payload import seal as seal_lib
from raeg_jax.payload.errors import (
    DamagedPayloadError,
    NewerFormatError,
    NotAPayloadError,
    OtherGeneratorError,
    PayloadError,
    TamperedPixelsError,
    WrongKeyError,
)
from raeg_jax.payload.key import Key
from raeg_jax.payload.seal import (
    PublicHeader,
    check_cipher,
    check_generator,
    extract_payload,
    open_sealed,
    read_public_header,
    seal,
)
from tests.payload.payloads import KEY, SMALL, equal, payloads

BLOB = seal(SMALL, KEY)
OTHER_KEY = Key(bytes(32))
PLAIN = astronaut()[:48, 200:260].copy()
MARKED = hiding.embed(PLAIN, b"payload")
CHANGED = MARKED.copy()
CHANGED[-1, -1] ^= 1


def with_checksum(data):
    return data + struct.pack("<I", zlib.crc32(data))


@given(payloads(), st.binary(min_size=32, max_size=32).map(Key))
def test_the_key_opens_what_it_locked(payload, key):
    assert equal(open_sealed(seal(payload, key), key), payload)


def test_a_small_image_needs_90_bytes():
    assert len(BLOB) == 90
    assert seal(SMALL, KEY) == BLOB


def test_anyone_reads_the_public_header_and_nothing_else():
    assert read_public_header(BLOB) == PublicHeader(1, SMALL.nonce, KEY.id, SMALL.generator_id)
    assert SMALL.sha256[:4] not in BLOB
    assert KEY.secret[:4] not in BLOB[13:]
    assert BLOB[23:60] != seal(SMALL, OTHER_KEY)[23:60]


def test_a_wrong_key_is_refused(monkeypatch):
    message = f"by the key {KEY.id}, but this is {OTHER_KEY.id}"
    with pytest.raises(WrongKeyError, match=message):
        open_sealed(BLOB, OTHER_KEY)
    monkeypatch.setattr(Key, "id", KEY.id)
    with pytest.raises(WrongKeyError, match="another one of the same id"):
        open_sealed(BLOB, OTHER_KEY)


@pytest.mark.parametrize("position", range(len(BLOB) - 4))
def test_a_forged_byte_is_refused(position):
    changed = bytearray(BLOB[:-4])
    changed[position] ^= 64
    error = NewerFormatError if position == 0 else WrongKeyError
    with pytest.raises(error):
        open_sealed(with_checksum(bytes(changed)), KEY)


@given(st.integers(1, len(BLOB) - 1), st.integers(1, 255))
def test_a_damaged_byte_is_refused(position, change):
    changed = bytearray(BLOB)
    changed[position] ^= change
    for read in (read_public_header, lambda blob: open_sealed(blob, KEY)):
        with pytest.raises(DamagedPayloadError, match="checksum"):
            read(bytes(changed))


def test_missing_or_added_bytes_are_refused():
    for blob in (BLOB[:-1], BLOB[:80], BLOB + b"\0"):
        with pytest.raises(DamagedPayloadError):
            read_public_header(blob)


def test_a_later_format_asks_for_an_update():
    with pytest.raises(NewerFormatError, match=r"format 2, .* up to 1: update raeg-jax"):
        read_public_header(with_checksum(b"\2" + BLOB[1:-4]))


@given(st.binary(max_size=200).filter(lambda data: data[:1] != b"\1"))
@example(bytes(100))
@example(b"\x89PNG\r\n\x1a\n" * 20)
@example(BLOB[:79])
def test_other_bytes_are_no_payload(data):
    with pytest.raises(NotAPayloadError, match="image that raeg protected"):
        open_sealed(data, KEY)


@given(st.binary(max_size=200))
def test_bytes_with_a_right_checksum_are_refused(data):
    with pytest.raises(PayloadError):
        open_sealed(with_checksum(b"\1" + data), KEY)


def test_another_generator_is_refused():
    check_generator(SMALL, SMALL.generator_id)
    with pytest.raises(OtherGeneratorError, match="by the generator 0123456789abcdef"):
        check_generator(SMALL, bytes(8))


def test_a_machine_without_the_cipher_is_refused(monkeypatch):
    """As cryptography is with an OpenSSL before 3.2."""

    def lacks(key):
        raise UnsupportedAlgorithm("AES-GCM-SIV is not supported by this version of OpenSSL")

    check_cipher()
    blob = seal(SMALL, KEY)
    monkeypatch.setattr(seal_lib, "AESGCMSIV", lacks)
    for call in (check_cipher, lambda: seal(SMALL, KEY), lambda: open_sealed(blob, KEY)):
        with pytest.raises(UserError, match=r"AES-GCM-SIV, .* OpenSSL before 3\.2: install"):
            call()


@pytest.mark.parametrize("beside", [None, b"payload"])
def test_a_payload_in_the_pixels_is_found_and_its_marks_taken_away(beside):
    pixels, blob, in_pixels = extract_payload(MARKED, beside)
    np.testing.assert_array_equal(pixels, PLAIN)
    assert (blob, in_pixels) == (b"payload", True)


@pytest.mark.parametrize("image", [PLAIN, MARKED, CHANGED], ids=["plain", "marked", "changed"])
def test_what_is_beside_the_pixels_counts(image):
    pixels, blob, in_pixels = extract_payload(image, b"another")
    assert pixels is image
    assert (blob, in_pixels) == (b"another", False)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (PLAIN, NotAPayloadError, "no payload is in the pixels, and none is beside"),
        (CHANGED, TamperedPixelsError, "the pixels have been changed since"),
    ],
    ids=["plain", "changed"],
)
def test_pixels_without_a_payload_are_refused(image, error, message):
    with pytest.raises(error, match=message):
        extract_payload(image, None)
