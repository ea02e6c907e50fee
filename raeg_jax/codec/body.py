"""What is hidden: length, message, a checksum, and what the header's bits were before.

The length is in LEB128, see `varint`. The checksum is the CRC-32 of the original image and the
message. All is mixed with fixed noise: as many ones as zeros, whatever the message, and so the same
distortion.
"""

import hashlib
import zlib

import numpy as np

from raeg_jax.codec import header, varint

_CHECK_BYTES = 4
_LENGTH_BYTES = 5
# Beside the message.
MOST_BYTES = _LENGTH_BYTES + _CHECK_BYTES + header.BITS // 8


def pack(image: np.ndarray, message: bytes) -> np.ndarray:
    """Returns the bits to hide in an image, uint8.

    Args:
      image: uint8 [H, W, C].
      message: any bytes.
    """
    low = header.read_low_bits(image)
    content = varint.write(len(message)) + message + _check(image, message) + low
    return np.unpackbits(np.frombuffer(content, np.uint8) ^ noise(len(content)))


def unpack(blank: np.ndarray, bits: np.ndarray) -> tuple[np.ndarray, bytes] | None:
    """Undoes `pack`.

    Args:
      blank: the image, but for the header's bits.
      bits: the packed ones, and maybe others after them.

    Returns:
      The image and the message, or None where they are not what was packed.
    """
    whole = np.packbits(bits)
    whole = (whole ^ noise(len(whole))).tobytes()
    length = start = 0
    for start in range(1, _LENGTH_BYTES + 1):
        digit = int.from_bytes(whole[start - 1 : start])
        length |= (digit & 127) << 7 * (start - 1)
        if digit < 128:
            break
    message, rest = whole[start : start + length], whole[start + length :]
    check, low = rest[:_CHECK_BYTES], rest[_CHECK_BYTES:][: header.BITS // 8]
    if len(low) < header.BITS // 8:
        return None
    image = header.with_low_bits(blank, low)
    return (image, message) if check == _check(image, message) else None


def noise(length: int) -> np.ndarray:
    """Returns fixed pseudo-random bytes, uint8 [length]."""
    return np.frombuffer(hashlib.shake_256(b"raeg hiding").digest(length), np.uint8)


def _check(image, message):
    check = zlib.crc32(repr(image.shape).encode())
    check = zlib.crc32(np.ascontiguousarray(image), check)
    return zlib.crc32(message, check).to_bytes(_CHECK_BYTES, "big")
