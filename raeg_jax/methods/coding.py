"""Lists of small integers in few bytes: the auxiliary data of RAE and RIT (docs/format.md, Lists).

The values are mostly noise: little can be won beyond their frequencies, which differ by method,
strength and size. So the shortest of three codes is taken:

- Rice codes (`payload.coding`) have no table: best for some hundred values;
- Huffman codes (zlib without its search for repetitions): best for some thousand;
- DEFLATE (zlib): best where most values are zero, or where they repeat.
"""

import zlib

import numpy as np

from raeg_jax.payload import coding

_MAX_FOLDED = 2**16 - 1
_RICE_LIMIT = 15
# In the coder's byte: values take two bytes each.
_WIDE = 128
# Of coders 1 and 2; coder 0 writes Rice codes.
_STRATEGIES = (zlib.Z_HUFFMAN_ONLY, zlib.Z_DEFAULT_STRATEGY)


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
    largest = folded.max(initial=0)
    if largest > _MAX_FOLDED:
        raise ValueError(f"{values[np.argmax(folded)]} is not in -32768..32767")
    wide = largest > 255
    # Low bytes, then high ones if there are any.
    planes = [folded & 255, folded >> 8][: 1 + wide]
    data = np.concatenate(planes).astype(np.uint8).tobytes()
    k = coding.best_rice_parameter(folded, _RICE_LIMIT)
    codes = [bytes([k]) + np.packbits(coding.write_rice(folded, k)).tobytes()]
    for strategy in _STRATEGIES:
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy)
        codes.append(deflate.compress(data) + deflate.flush())
    coder = min(range(len(codes)), key=lambda coder: len(codes[coder]))
    kind = coder | (_WIDE if wide and coder else 0)
    return bytes([kind]) + coding.write_varint(len(codes[coder])) + codes[coder]


def decode(data: coding.ByteReader, count: int) -> np.ndarray:
    """Reads what `encode` made, in memory proportional to the count and the length of the code.

    Args:
      data: stands at the code; afterwards at what follows it.
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
        folded = _decode_rice(code, count)
    else:
        planes = np.frombuffer(_inflate(code, count * (1 + wide)), np.uint8).astype(np.int64)
        folded = planes[:count] | planes[count:] << 8 if wide else planes
    return np.where(folded & 1, -(folded + 1) // 2, folded // 2)


def _decode_rice(code, count):
    error = ValueError(f"{len(code)} bytes are no Rice code of {count} values")
    # A bit a value at least: no large array is made for a wrong count.
    if count > 8 * (len(code) - 1) or code[0] > _RICE_LIMIT:
        raise error
    bits = np.unpackbits(np.frombuffer(code, np.uint8, offset=1))
    folded, left = coding.read_rice(bits, count, code[0])
    if len(left) >= 8 or left.any() or folded.max(initial=0) > _MAX_FOLDED:
        raise error
    return folded


def _inflate(code, size):
    try:
        inflate = zlib.decompressobj(-15)
        # One more than expected, so that too much shows.
        data = inflate.decompress(code, size + 1)
    except zlib.error as error:
        raise ValueError(f"{len(code)} bytes are no code: {error}") from None
    if len(data) != size or not inflate.eof or inflate.unused_data:
        raise ValueError(f"{len(code)} bytes are no code of {size}")
    return data
