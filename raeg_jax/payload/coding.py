"""Whole numbers in few bytes: LEB128 one by one, Rice codes for arrays.

LEB128 has seven bits a byte, the low ones first, the high bit set where more bytes follow.

A Rice code (a Golomb code whose parameter is a power of two) of v is v >> k zeros and a one, then
the k low bits of v. That suits gaps between rare events and small excesses, both nearly geometric,
and needs no table, so that three values take five bytes. All unary parts come before all low bits,
so that NumPy reads and writes whole arrays. Source: R. F. Rice, Some practical universal noiseless
coding techniques, JPL 79-22, 1979.
"""

import numpy as np


def write_varint(value: int) -> bytes:
    """Writes a number that isn't negative in LEB128."""
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)


class ByteReader:
    """Reads numbers and bytes one after another; raises ValueError where the data end early.

    Args:
      data: all bytes.
    """

    def __init__(self, data: bytes):
        self._data, self._position = data, 0

    def next(self) -> int:
        """Reads a number in LEB128, of 63 bits at most."""
        value = 0
        for shift in range(0, 63, 7):
            (byte,) = self.take(1)
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number of more than 63 bits")

    def take(self, count: int) -> bytes:
        """Reads `count` bytes."""
        start, self._position = self._position, self._position + count
        if self._position > len(self._data):
            raise ValueError(f"{len(self._data) - start} bytes in place of {count}")
        return self._data[start : self._position]

    def rest(self) -> bytes:
        """Reads all bytes that are left."""
        return self.take(len(self._data) - self._position)


def best_rice_parameter(values: np.ndarray, limit: int) -> int:
    """Returns the k in 0..limit that codes values, int64 [n], none negative, in the fewest bits."""
    costs = [int((values >> k).sum()) + k * len(values) for k in range(limit + 1)]
    return int(np.argmin(costs))


def write_rice(values: np.ndarray, k: int) -> np.ndarray:
    """Codes values.

    Args:
      values: int64 [n], none negative.
      k: the parameter.

    Returns:
      uint8 [bits] of zeros and ones.
    """
    ends = np.cumsum((values >> k) + 1) - 1
    unary = np.zeros(ends[-1] + 1 if len(values) else 0, np.uint8)
    unary[ends] = 1
    low = np.empty((len(values), k), np.uint8)
    for bit in range(k):
        low[:, bit] = values >> (k - 1 - bit) & 1
    return np.concatenate([unary, low.ravel()])


def read_rice(bits: np.ndarray, count: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Undoes `write_rice`.

    Args:
      bits: uint8 [bits], the code and whatever follows it.
      count: number of values.
      k: the parameter.

    Returns:
      The values, int64 [count], and the bits that follow.

    Raises:
      ValueError: there are too few bits for so many values, or the values are too large.
    """
    if len(bits) << k >= 1 << 62:  # No v >> k is larger than the number of bits.
        raise ValueError(f"values of {len(bits)} bits with parameter {k} may be too large")
    ends = np.flatnonzero(bits)[:count]
    start = ends[-1] + 1 if len(ends) else 0
    if len(ends) < count or len(bits) - start < count * k:
        raise ValueError(f"{len(bits)} bits are too few for {count} values")
    high = np.diff(ends, prepend=-1) - 1
    low = np.zeros(count, np.int64)
    for column in bits[start : start + count * k].reshape(count, k).T:
        low = low << 1 | column
    return high << k | low, bits[start + count * k :]
