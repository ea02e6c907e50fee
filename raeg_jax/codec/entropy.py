"""Rice codes (Golomb codes whose parameter is a power of two) of whole arrays.

A value v is v >> k zeros and a one, then the k low bits of v. That suits gaps between rare events
and small excesses, both nearly geometric, and costs no table, so that three values take five
bytes. All unary parts come before all low bits, which lets NumPy read and write arrays at once.

Source: R. F. Rice, Some practical universal noiseless coding techniques, JPL 79-22, 1979.
"""

import numpy as np


def best_parameter(values: np.ndarray, limit: int) -> int:
    """The k in 0..limit that codes values, int64 [n], none negative, in the fewest bits."""
    costs = [int((values >> k).sum()) + k * len(values) for k in range(limit + 1)]
    return int(np.argmin(costs))


def write(values: np.ndarray, k: int) -> np.ndarray:
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


def read(bits: np.ndarray, count: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads what `write` made.

    Args:
      bits: uint8 [bits], the code and whatever follows it.
      count: number of values.
      k: the parameter that they were written with.

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
