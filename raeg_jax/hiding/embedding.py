"""Embeds a message in an image reversibly, and the format of a marked image.

The method is prediction-error expansion in two interleaved layers a channel (Sachnev et al. 2009,
see `expansion`) with expansion bins by class of activity (Li et al. 2015, see
`plan`). Any lossless file format keeps the message.

The lowest bits of the first 64 samples hold the header: the plan by which the image is marked. The
body, hidden in all other samples (see `marking`), holds the message and the bits that the header
replaces. docs/format.md has the tables.

Beside the image and a few copies, embedding takes about 100 MB, whatever the image's size.
"""

import hashlib
import zlib

import numpy as np

from raeg_jax.hiding import expansion, marking
from raeg_jax.hiding.marking import HEADER_BITS
from raeg_jax.hiding.plan import BASES, Plan
from raeg_jax.payload.coding import ByteReader, write_varint

_VERSION = 0
_CHECK_BYTES = 4
# Size of the body beside the message: its length, the checksum, the bits under the header.
OVERHEAD_BYTES = 5 + _CHECK_BYTES + HEADER_BITS // 8


class CapacityError(ValueError):
    """The message does not fit into the image."""


class NotMarkedError(ValueError):
    """No message is hidden in the image."""


class ChangedError(NotMarkedError):
    """The image carried a message, but has been changed since it was marked.

    One in 65,536 images that never carried a message raises this error too.
    """


def capacity(image: np.ndarray) -> int:
    """Returns a length in bytes up to which every message fits, 0 if there is none.

    Args:
      image: uint8 [H, W, C], C 1 or 3.
    """
    if not _can_be_marked(image):
        return 0
    bits = np.unpackbits(_noise(image.size // 8 + 1))
    return max(0, marking.capacity(_without_header(image), bits) // 8 - OVERHEAD_BYTES)


def embed(image: np.ndarray, message: bytes) -> np.ndarray:
    """Hides a message.

    Args:
      image: uint8 [H, W, C], C 1 or 3; not changed.
      message: any bytes.

    Returns:
      uint8 [H, W, C], the marked image; the same on all machines.

    Raises:
      CapacityError: the message does not fit.
    """
    if _can_be_marked(image):
        marked = marking.mark(_without_header(image), pack_body(image, message))
        if marked is not None:
            return with_low_bits(marked.image, pack_header(marked.plan, marked.parts))
    height, width = image.shape[:2]
    raise CapacityError(
        f"an image of {width} x {height} pixels has no room for {len(message)} bytes"
    )


def extract(marked: np.ndarray) -> tuple[np.ndarray, bytes]:
    """Undoes `embed`.

    Args:
      marked: uint8 [H, W, C], C 1 or 3; not changed.

    Returns:
      The image, uint8 [H, W, C], and the message, exactly as they were.

    Raises:
      ChangedError: a sample differs from what `embed` returned.
      NotMarkedError: `embed` did not make this image.
    """
    header = unpack_header(_low_bits(marked)) if _can_be_marked(marked) else None
    if header is None:
        raise NotMarkedError("no message is hidden in this image")
    restored = marking.restore(_without_header(marked), *header)
    content = unpack_body(*restored) if restored else None
    if content is None:
        raise ChangedError("this image was changed after a message was hidden in it")
    return content


def _can_be_marked(image: np.ndarray) -> bool:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"needs uint8 [H, W, 1 or 3], not {image.dtype} {list(image.shape)}")
    return min(image.shape[:2]) >= expansion.MIN_SIDE and image.size > HEADER_BITS


def pack_header(plan: Plan, parts: int) -> bytes:
    """Returns 8 bytes: check (16 bits), version 2, weight 2, base 4, parts 8, bins 8 x 4.

    Args:
      plan: how the image is marked.
      parts: how far it is marked from the top, in 256th of its height: 1 to 256.
    """
    bins = (
        first << 4 | second for first, second in zip(plan.bins[::2], plan.bins[1::2], strict=True)
    )
    content = bytes([_VERSION << 6 | plan.weight << 4 | plan.base, parts - 1, *bins])
    return _header_check(content) + content


def unpack_header(header: bytes) -> tuple[Plan, int] | None:
    """Returns the arguments of `pack_header`, or None for bytes that it never returns."""
    check, content = header[:2], header[2:]
    weight, base = content[0] >> 4, content[0] & 15
    if check != _header_check(content) or weight >= len(expansion.WEIGHTS) or base not in BASES:
        return None
    bins = tuple(index for pair in content[2:] for index in (pair >> 4, pair & 15))
    return Plan(weight, base, bins), content[1] + 1


def _header_check(content: bytes) -> bytes:
    return zlib.crc32(b"raeg hiding" + content).to_bytes(4, "big")[:2]


def with_low_bits(image: np.ndarray, header: bytes) -> np.ndarray:
    """Returns a copy of an image whose first samples have the header in their lowest bits."""
    image = image.copy()
    first = image.reshape(-1)[:HEADER_BITS]
    first[:] = first & 0xFE | np.unpackbits(np.frombuffer(header, np.uint8))
    return image


def _without_header(image: np.ndarray) -> np.ndarray:
    return with_low_bits(image, bytes(HEADER_BITS // 8))


def _low_bits(image: np.ndarray) -> bytes:
    return np.packbits(image.ravel()[:HEADER_BITS] & 1).tobytes()


def pack_body(image: np.ndarray, message: bytes) -> np.ndarray:
    """Returns the bits to hide in an image: uint8.

    The message's length (LEB128), the message, a CRC-32 of image and message, and the bits that the
    header replaces. XOR with fixed noise gives about as many ones as zeros, whatever the message,
    and so the same distortion.

    Args:
      image: uint8 [H, W, C].
      message: any bytes.
    """
    body = write_varint(len(message)) + message + _checksum(image, message) + _low_bits(image)
    return np.unpackbits(np.frombuffer(body, np.uint8) ^ _noise(len(body)))


def unpack_body(image: np.ndarray, bits: np.ndarray) -> tuple[np.ndarray, bytes] | None:
    """Undoes `pack_body`.

    Args:
      image: the original image, but for the header's bits.
      bits: the body, perhaps followed by other bits.

    Returns:
      The original image and the message, or None if the checksum is wrong.
    """
    body = np.packbits(bits)
    reader = ByteReader((body ^ _noise(len(body))).tobytes())
    try:
        message = reader.take(reader.next())
        checksum = reader.take(_CHECK_BYTES)
        original = with_low_bits(image, reader.take(HEADER_BITS // 8))
    except ValueError:
        return None
    return (original, message) if checksum == _checksum(original, message) else None


def _noise(length: int) -> np.ndarray:
    return np.frombuffer(hashlib.shake_256(b"raeg hiding").digest(length), np.uint8)


def _checksum(image: np.ndarray, message: bytes) -> bytes:
    crc = zlib.crc32(repr(image.shape).encode())
    crc = zlib.crc32(np.ascontiguousarray(image).data, crc)
    return zlib.crc32(message, crc).to_bytes(_CHECK_BYTES, "big")
