"""The secret part of a payload as bytes; docs/format.md has the table."""

import numpy as np

from raeg_jax.codec import overflow as overflow_code
from raeg_jax.codec import varint
from raeg_jax.codec.errors import DamagedPayloadError, NewerFormatError
from raeg_jax.codec.overflow import Overflow
from raeg_jax.codec.payload import DIGEST_SIZE, MAX_SIDE, Payload, SourceMode

# Digest, flags, height, width, columns and number of clipped values.
MIN_SIZE = DIGEST_SIZE + 5
_SAME_MACHINE, _AUXILIARY = 8, 128
_MODE = 7


def to_bytes(payload: Payload) -> bytes:
    """Writes all of a payload but its nonce and generator id."""
    flags = payload.orientation - 1 | payload.mode << 4
    numbers = [payload.height, payload.width]
    if not payload.portable:
        flags |= _SAME_MACHINE
        numbers.append(payload.batch)
    numbers.append(payload.codes.shape[1] << 1 | (payload.tile > 0))
    if payload.tile:
        numbers.append(payload.tile)
    numbers += payload.codes.ravel().tolist()
    auxiliary = b""
    if payload.auxiliary:
        flags |= _AUXILIARY
        auxiliary = varint.write(len(payload.auxiliary)) + payload.auxiliary
    data = payload.sha256 + bytes([flags]) + b"".join(map(varint.write, numbers)) + auxiliary
    count = len(payload.overflow.ranks)
    data += varint.write(count)
    return data + overflow_code.to_bytes(payload.overflow) if count else data


def from_bytes(data: bytes, nonce: bytes, generator_id: bytes) -> Payload:
    """Reads what `to_bytes` made, in memory proportional to the bytes given.

    Args:
      data: the bytes.
      nonce: from the clear part.
      generator_id: from the clear part.

    Raises:
      NewerFormatError: a kind of source that this version doesn't know.
      DamagedPayloadError: anything else.
    """
    try:
        return _read(data, nonce, generator_id)
    except NewerFormatError:
        raise
    except (ValueError, IndexError) as error:
        raise DamagedPayloadError(
            f"the payload's content makes no sense ({error}): take an untouched copy of the image"
        ) from error


def _read(data, nonce, generator_id):
    flags = data[DIGEST_SIZE]
    numbers = varint.Reader(data, DIGEST_SIZE + 1)
    height, width = numbers.next(), numbers.next()
    if max(height, width) > MAX_SIDE:
        raise ValueError(f"a size of {height} x {width} pixels")
    batch = numbers.next() if flags & _SAME_MACHINE else 0
    layout = numbers.next()
    columns, tile = layout >> 1, numbers.next() if layout & 1 else 0
    tiles = -(-height // tile) * -(-width // tile) if tile else 1
    # A number takes a byte at least: no large table is made for a wrong size.
    if tiles * columns > len(data):
        raise ValueError(f"{len(data)} bytes for the codes of {tiles} tiles")
    codes = [numbers.next() for _ in range(tiles * columns)]
    auxiliary = numbers.take(numbers.next()) if flags & _AUXILIARY else b""
    # There is one way only to write a payload.
    if flags & _AUXILIARY and not auxiliary:
        raise ValueError("no auxiliary data")
    count = numbers.next()
    rest = numbers.rest()
    if count:
        overflow = overflow_code.from_bytes(rest, count)
    elif rest:
        raise ValueError(f"{len(rest)} bytes too many")
    else:
        overflow = Overflow(np.zeros(0, np.int64), np.zeros(0, np.int64))
    return Payload(
        nonce=nonce,
        generator_id=generator_id,
        height=height,
        width=width,
        sha256=data[:DIGEST_SIZE],
        tile=tile,
        batch=batch,
        mode=_mode(flags >> 4 & _MODE),
        orientation=(flags & 7) + 1,
        codes=np.array(codes, np.int64).reshape(tiles, columns),
        overflow=overflow,
        auxiliary=auxiliary,
    )


def _mode(value):
    try:
        return SourceMode(value)
    except ValueError:
        raise NewerFormatError(
            f"the image comes from a kind of file ({value}) that this version doesn't know: "
            "update raeg-jax"
        ) from None
