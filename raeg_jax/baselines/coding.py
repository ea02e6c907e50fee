"""Small integers in few bytes.

What the compared methods hide is mostly noise: little can be won beyond the frequencies of the
values, but these differ by method, strength and size. So there are several coders, and the
shortest code counts:

- Rice codes (`codec.entropy`) have no table: best for some hundred values;
- Huffman codes (zlib without its search for repetitions): best for some thousand;
- DEFLATE (zlib): best where most values are zero, or where they repeat.
"""

import zlib

import numpy as np

from raeg_jax.payload import coding

# Values beyond, after signs are folded in, are a fault.
_MOST = 2**16 - 1
_RICE_LIMIT = 15
_WIDE = 128


def encode(values: np.ndarray) -> bytes:
    """Codes integers.

    Args:
      values: of any integer type and shape, -32768..32767.

    Returns:
      A byte for the coder, the length of the code (LEB128), and the code. The number of values is
      no part of it.

    Raises:
      ValueError: a value is too large.
    """
    values = np.asarray(values, np.int64).ravel()
    folded = np.where(values < 0, -2 * values - 1, 2 * values)
    if len(folded) and folded.max() > _MOST:
        raise ValueError(f"{values[np.argmax(folded)]} is not in -32768..32767")
    wide = len(folded) > 0 and folded.max() > 255
    codes = [_rice(folded)] + [_deflate(_planes(folded, wide), way) for way in _STRATEGIES]
    best = min(range(len(codes)), key=lambda coder: len(codes[coder]))
    kind = best | _WIDE * (wide and best > 0)
    return bytes([kind]) + coding.write_varint(len(codes[best])) + codes[best]


def decode(data: coding.ByteReader, count: int) -> np.ndarray:
    """Reads what `encode` made, in memory proportional to the count and the bytes given.

    Args:
      data: stands at the code, and goes on to what follows it.
      count: number of values.

    Returns:
      int64 [count].

    Raises:
      ValueError: the bytes are not the code of so many values.
      IndexError: they end early.
    """
    (kind,) = data.take(1)
    code = data.take(data.next())
    coder, wide = kind % _WIDE, kind >= _WIDE
    if coder > len(_STRATEGIES) or kind == _WIDE:
        raise ValueError(f"coder {kind} is unknown")
    if coder == 0:
        folded = _from_rice(code, count)
    else:
        folded = _from_planes(_inflate(code, count * (1 + wide)), wide)
    return np.where(folded & 1, -(folded + 1) // 2, folded // 2)


_STRATEGIES = (zlib.Z_HUFFMAN_ONLY, zlib.Z_DEFAULT_STRATEGY)


def _rice(folded):
    k = coding.best_rice_parameter(folded, _RICE_LIMIT)
    return bytes([k]) + np.packbits(coding.write_rice(folded, k)).tobytes()


def _from_rice(code, count):
    # A bit a value at least: no large array is made for a wrong count.
    if count > 8 * (len(code) - 1) or code[0] > _RICE_LIMIT:
        raise ValueError(f"{len(code)} bytes are no Rice code of {count} values")
    bits = np.unpackbits(np.frombuffer(code, np.uint8, offset=1))
    folded, left = coding.read_rice(bits, count, code[0])
    if len(left) >= 8 or left.any() or (count and folded.max() > _MOST):
        raise ValueError(f"{len(code)} bytes are no Rice code of {count} values")
    return folded


def _planes(folded, wide):
    """Low bytes, then high ones if there are any."""
    low = (folded & 255).astype(np.uint8).tobytes()
    return low + (folded >> 8).astype(np.uint8).tobytes() if wide else low


def _from_planes(data, wide):
    planes = np.frombuffer(data, np.uint8).astype(np.int64)
    if not wide:
        return planes
    low, high = planes.reshape(2, -1)
    return low | high << 8


def _deflate(data, strategy):
    coder = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy)
    return coder.compress(data) + coder.flush()


def _inflate(code, size):
    try:
        coder = zlib.decompressobj(-15)
        # One more than expected, so that too much shows.
        data = coder.decompress(code, size + 1)
    except zlib.error as error:
        raise ValueError(f"{len(code)} bytes are no code: {error}") from None
    if len(data) != size or not coder.eof or coder.unused_data:
        raise ValueError(f"{len(code)} bytes are no code of {size}")
    return data
