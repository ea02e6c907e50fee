"""Locked payloads: who can read what, and which error each fault gets."""

import struct
import zlib

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from hypothesis import example, given
from hypothesis import strategies as st

from raeg_jax.codec import envelope
from raeg_jax.codec.envelope import (
    Envelope,
    check_cipher,
    check_generator,
    open_sealed,
    peek,
    seal,
)
from raeg_jax.codec.errors import (
    DamagedPayloadError,
    NewerFormatError,
    NotAPayloadError,
    OtherGeneratorError,
    PayloadError,
    WrongKeyError,
)
from raeg_jax.codec.key import Key
from raeg_jax.errors import UserError
from tests.codec.payloads import KEY, SMALL, equal, payloads

BLOB = seal(SMALL, KEY)


def with_checksum(data):
    return data + struct.pack("<I", zlib.crc32(data))


@given(payloads(), st.binary(min_size=32, max_size=32).map(Key))
def test_the_key_opens_what_it_locked(payload, key):
    assert equal(open_sealed(seal(payload, key), key), payload)


def test_a_small_image_needs_90_bytes():
    assert len(BLOB) == 90


def test_anyone_reads_the_clear_part():
    assert peek(BLOB) == Envelope(1, SMALL.nonce, KEY.id, SMALL.generator_id)


def test_nothing_else_is_readable():
    assert SMALL.sha256[:4] not in BLOB
    assert KEY.secret[:4] not in BLOB[13:]


def test_other_nonces_and_keys_lock_differently():
    other = seal(SMALL, Key(bytes(32)))
    assert BLOB[23:60] != other[23:60]
    assert seal(SMALL, KEY) == BLOB


def test_a_wrong_key_is_told():
    other = Key(bytes(32))
    with pytest.raises(WrongKeyError, match=f"by the key {KEY.id}, but this is {other.id}"):
        open_sealed(BLOB, other)


def test_a_wrong_key_of_the_same_id_is_told(monkeypatch):
    monkeypatch.setattr(Key, "id", KEY.id)
    with pytest.raises(WrongKeyError, match="another one of the same id"):
        open_sealed(BLOB, Key(bytes(32)))


@pytest.mark.parametrize("position", range(len(BLOB) - 4))
def test_a_forged_byte_is_told(position):
    changed = bytearray(BLOB[:-4])
    changed[position] ^= 64
    error = NewerFormatError if position == 0 else WrongKeyError
    with pytest.raises(error):
        open_sealed(with_checksum(bytes(changed)), KEY)


@given(st.integers(1, len(BLOB) - 1), st.integers(1, 255))
def test_a_damaged_byte_is_told(position, change):
    changed = bytearray(BLOB)
    changed[position] ^= change
    for read in (peek, lambda blob: open_sealed(blob, KEY)):
        with pytest.raises(DamagedPayloadError, match="checksum"):
            read(bytes(changed))


def test_missing_or_added_bytes_are_told():
    for blob in (BLOB[:-1], BLOB[:80], BLOB + b"\0"):
        with pytest.raises(DamagedPayloadError):
            peek(blob)


def test_a_later_format_asks_for_an_update():
    with pytest.raises(NewerFormatError, match=r"format 2, .* up to 1: update raeg-jax"):
        peek(with_checksum(b"\2" + BLOB[1:-4]))


@given(st.binary(max_size=200).filter(lambda data: data[:1] != b"\1"))
@example(bytes(100))
@example(b"\x89PNG\r\n\x1a\n" * 20)
@example(BLOB[:79])
def test_other_bytes_are_no_payload(data):
    with pytest.raises(NotAPayloadError, match="image that raeg protected"):
        open_sealed(data, KEY)


@given(st.binary(max_size=200))
def test_bytes_with_a_right_checksum_are_told(data):
    with pytest.raises(PayloadError):
        open_sealed(with_checksum(b"\1" + data), KEY)


@pytest.mark.parametrize("found", [SMALL, peek(BLOB)])
def test_another_generator_is_told(found):
    check_generator(found, SMALL.generator_id)
    with pytest.raises(OtherGeneratorError, match="by the generator 0123456789abcdef"):
        check_generator(found, bytes(8))


def test_a_machine_without_the_cipher_is_told(monkeypatch):
    """As cryptography is with an OpenSSL before 3.2."""

    def lacks(key):
        raise UnsupportedAlgorithm("AES-GCM-SIV is not supported by this version of OpenSSL")

    check_cipher()
    blob = seal(SMALL, KEY)
    monkeypatch.setattr(envelope, "AESGCMSIV", lacks)
    for call in (check_cipher, lambda: seal(SMALL, KEY), lambda: open_sealed(blob, KEY)):
        with pytest.raises(UserError, match=r"AES-GCM-SIV, .* OpenSSL before 3\.2: install"):
            call()
