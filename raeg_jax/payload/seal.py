"""Locks payloads with the owner's key, finds them in protected images, and opens them.

The cipher is AES-256-GCM-SIV (RFC 8452) with a subkey for each image. Nonces are random, but
nothing forces them to differ: two copies of a virtual machine draw the same ones, and an image may
be protected twice with one nonce. With ChaCha20-Poly1305 or plain GCM that would lay open both
payloads and let anyone forge others; with SIV it only shows whether the two are equal. The subkey,
HKDF of the key with the nonce as salt, keeps the number of payloads under one AES key near one.
"""

import contextlib
import dataclasses
import struct
import zlib
from typing import NamedTuple

import numpy as np
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from raeg_jax.errors import UserError
from raeg_jax.hiding import ChangedError, NotMarkedError, extract
from raeg_jax.image_file.read import ImageFile
from raeg_jax.image_file.samples import UPRIGHT
from raeg_jax.payload.errors import (
    DamagedPayloadError,
    NewerFormatError,
    NotAPayloadError,
    OtherGeneratorError,
    PayloadError,
    TamperedPixelsError,
    WrongKeyError,
)
from raeg_jax.payload.key import KEY_ID_SIZE, KEY_SIZE, Key
from raeg_jax.payload.payload import (
    GENERATOR_ID_SIZE,
    MIN_CONTENT_SIZE,
    NONCE_SIZE,
    Payload,
    read_content,
    write_content,
)

VERSION = 1
_PUBLIC = struct.Struct(f"<B{NONCE_SIZE}s{KEY_ID_SIZE}s{GENERATOR_ID_SIZE}s")
_CRC = struct.Struct("<I")
_TAG_SIZE = 16
_MIN_SIZE = _PUBLIC.size + MIN_CONTENT_SIZE + _TAG_SIZE + _CRC.size


@dataclasses.dataclass(frozen=True)
class PublicHeader:
    """What anyone can read of a payload.

    Attributes:
      version: of the format.
      nonce: 12 bytes.
      key_id: `Key.id` of the key that locked it.
      generator_id: 8 bytes.
    """

    version: int
    nonce: bytes
    key_id: str
    generator_id: bytes


def check_cipher() -> None:
    """Makes sure that this machine can lock and open payloads.

    Raises:
      UserError: it can't.
    """
    _cipher(bytes(KEY_SIZE))


def seal(payload: Payload, key: Key) -> bytes:
    """Locks a payload.

    Args:
      payload: what to lock; its nonce and generator id stay readable.
      key: the owner's.

    Returns:
      80 bytes or more; the same ones for the same payload and key.
    """
    nonce = payload.nonce
    public = _PUBLIC.pack(VERSION, nonce, bytes.fromhex(key.id), payload.generator_id)
    cipher = _cipher(key.payload_key(nonce))
    blob = public + cipher.encrypt(nonce, write_content(payload), public)
    return blob + _CRC.pack(zlib.crc32(blob))


def open_sealed(blob: bytes, key: Key) -> Payload:
    """Opens what `seal` returned.

    Args:
      blob: the bytes, no more and no less.
      key: the owner's.

    Raises:
      PayloadError: as for `read_public_header`, or
      WrongKeyError: another key locked the payload.
    """
    header = read_public_header(blob)
    if header.key_id != key.id:
        raise WrongKeyError(
            f"locked by the key {header.key_id}, but this is {key.id}: give the owner's key"
        )
    public, locked = blob[: _PUBLIC.size], blob[_PUBLIC.size : -_CRC.size]
    try:
        content = _cipher(key.payload_key(header.nonce)).decrypt(header.nonce, locked, public)
    except InvalidTag:
        raise WrongKeyError(
            f"not locked by this key {key.id}, but by another one of the same id, or forged: "
            "give the owner's key, or take an untouched copy of the image"
        ) from None
    return read_content(content, header.nonce, header.generator_id)


def read_public_header(blob: bytes) -> PublicHeader:
    """Reads what needs no key.

    Args:
      blob: the bytes of a payload, or any others.

    Raises:
      NotAPayloadError: the bytes are no payload.
      NewerFormatError: an intact payload of a later version.
      DamagedPayloadError: a payload of a known version with changed or missing bytes.
    """
    if len(blob) < _MIN_SIZE:
        raise NotAPayloadError(
            f"{len(blob)} bytes are no payload, which has {_MIN_SIZE} at least: "
            "give an image that raeg protected"
        )
    (crc,) = _CRC.unpack(blob[-_CRC.size :])
    intact = zlib.crc32(blob[: -_CRC.size]) == crc
    version, nonce, key_id, generator_id = _PUBLIC.unpack_from(blob)
    if intact and version > VERSION:
        raise NewerFormatError(
            f"the payload has format {version}, and this version of raeg-jax reads up to "
            f"{VERSION}: update raeg-jax"
        )
    if version != VERSION:
        raise NotAPayloadError("these bytes are no payload: give an image that raeg protected")
    if not intact:
        raise DamagedPayloadError(
            "the payload's checksum is wrong, so the image has been changed: take an untouched copy"
        )
    return PublicHeader(version, nonce, key_id.hex(), generator_id)


def check_generator(payload: Payload, generator_id: bytes) -> None:
    """Makes sure that a generator is the one that protected the image.

    Args:
      payload: the image's.
      generator_id: of the generator at hand.

    Raises:
      OtherGeneratorError: it isn't.
    """
    if payload.generator_id != generator_id:
        raise OtherGeneratorError(
            f"protected by the generator {payload.generator_id.hex()}, but this is "
            f"{generator_id.hex()}: give the one that protected the image"
        )


def _cipher(key: bytes) -> AESGCMSIV:
    try:
        return AESGCMSIV(key)
    except UnsupportedAlgorithm:
        raise UserError(
            "payloads are locked with AES-GCM-SIV, which the installed cryptography lacks, as it "
            "uses an OpenSSL before 3.2: install one that has its own "
            "(`pip install --force-reinstall cryptography`)"
        ) from None


class Extracted(NamedTuple):
    """An image without the marks of hiding, and its payload.

    Attributes:
      pixels: uint8 [H, W, 3].
      blob: the payload, or other bytes in its place; see `seal`.
      in_pixels: whether it was hidden in the pixels.
    """

    pixels: np.ndarray
    blob: bytes
    in_pixels: bool


def extract_payload(image: np.ndarray, blob: bytes | None) -> Extracted:
    """Extracts the payload of an image; takes little time where there is none.

    Args:
      image: uint8 [H, W, 3].
      blob: the payload that is kept beside the image, or None.

    Raises:
      NotAPayloadError: nothing is hidden in the pixels, and there is nothing beside them.
      TamperedPixelsError: the same, but something was hidden before the pixels were changed.
    """
    try:
        pixels, hidden = extract(image)
    except NotMarkedError as error:
        if blob is not None:
            return Extracted(image, blob, in_pixels=False)
        if isinstance(error, ChangedError):
            raise TamperedPixelsError(
                "the pixels have been changed since the image was protected: take an untouched copy"
            ) from None
        raise NotAPayloadError(
            "no payload is in the pixels, and none is beside them: give an image as raeg wrote "
            "it (copies as JPEG, resized or cropped have lost it)"
        ) from None
    if blob is None or blob == hidden:
        return Extracted(pixels, hidden, in_pixels=True)
    return Extracted(image, blob, in_pixels=False)


def find_payload(picture: ImageFile) -> Extracted:
    """Finds the payload of a file; takes little time where there is none.

    A viewer may have turned the picture by an EXIF orientation: then its raster is tried, too.

    Raises:
      PayloadError: as for `extract_payload`.
    """
    try:
        return extract_payload(picture.pixels, picture.payload_chunk)
    except PayloadError:
        if picture.orientation != UPRIGHT:
            with contextlib.suppress(PayloadError):
                return extract_payload(picture.as_stored().pixels, None)
        raise
