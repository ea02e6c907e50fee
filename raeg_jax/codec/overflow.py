"""The values outside 0..255 that an 8-bit image can't hold, in few bytes.

A clipped value is 0 or 255 in the image, and the image is there when values are put back. So
a value is found by its rank among the image's saturated samples instead of by its place, and the
side on which it left needs no sign: a quarter to a half less to store.
"""

from typing import NamedTuple

import numpy as np

from raeg_jax.codec import entropy
from raeg_jax.codec.errors import TamperedPixelsError
from raeg_jax.errors import DivergedError

# With 5 and 3 bits for the parameters they take one byte.
_RANK_LIMIT, _AMOUNT_LIMIT = 31, 7
# Codes of larger amounts would grow beyond all use; a value so far off is a fault.
MAX_AMOUNT = 2**16 - 1


class Overflow(NamedTuple):
    """What was clipped.

    Attributes:
      ranks: int64 [n], increasing: the samples' positions in C order [H, W, 3] among those that
        are 0 or 255 in the clipped image.
      amounts: int64 [n], how far outside the values were, 1..65535.
    """

    ranks: np.ndarray
    amounts: np.ndarray


def split(values: np.ndarray) -> tuple[np.ndarray, Overflow]:
    """Clips to 8 bits and keeps what that loses.

    Args:
      values: integers of any integer type [H, W, 3].

    Returns:
      uint8 [H, W, 3], and the overflow.

    Raises:
      DivergedError: values are farther outside than `MAX_AMOUNT`.
    """
    image = np.clip(values, 0, 255).astype(np.uint8)
    saturated = values[_saturated(image)].astype(np.int32)
    excess = np.maximum(-saturated, saturated - 255)
    if excess.max(initial=0) > MAX_AMOUNT:
        raise DivergedError(
            f"the generator takes samples {excess.max()} beyond 0..255, as one does whose training "
            "diverged: train it again with a lower config.optimizer.learning_rate"
        )
    ranks = np.flatnonzero(excess > 0)
    return image, Overflow(ranks, excess[ranks].astype(np.int64))


def join(image: np.ndarray, overflow: Overflow) -> np.ndarray:
    """Undoes `split`.

    Args:
      image: uint8 [H, W, 3].
      overflow: what was clipped.

    Returns:
      int32 [H, W, 3].

    Raises:
      TamperedPixelsError: the image isn't the one that was clipped.
    """
    saturated = _saturated(image)
    values = image.astype(np.int32)
    extreme = values[saturated]
    if len(overflow.ranks) and overflow.ranks[-1] >= len(extreme):
        raise TamperedPixelsError(
            f"the image has {len(extreme)} samples of 0 or 255, fewer than when it was protected: "
            "its pixels have been changed, take an untouched copy"
        )
    sign = np.where(extreme[overflow.ranks] == 0, -1, 1)
    extreme[overflow.ranks] += (sign * overflow.amounts).astype(np.int32)
    values[saturated] = extreme
    return values


def to_bytes(overflow: Overflow) -> bytes:
    """Codes one or more values, Rice-coded gaps and amounts; their number isn't part of it."""
    gaps = np.diff(overflow.ranks, prepend=-1) - 1
    excess = overflow.amounts - 1
    k_gap = entropy.best_parameter(gaps, _RANK_LIMIT)
    k_amount = entropy.best_parameter(excess, _AMOUNT_LIMIT)
    bits = np.concatenate([entropy.write(gaps, k_gap), entropy.write(excess, k_amount)])
    return bytes([k_gap << 3 | k_amount]) + np.packbits(bits).tobytes()


def from_bytes(data: bytes, count: int) -> Overflow:
    """Reads what `to_bytes` made.

    Args:
      data: all of it.
      count: number of values, at least one.

    Raises:
      ValueError: the bytes aren't the code of so many values.
    """
    # Two bits a value at least: no large array is made for a wrong count.
    if 2 * count > 8 * (len(data) - 1):
        raise ValueError(f"{len(data)} bytes are too few for {count} values")
    bits = np.unpackbits(np.frombuffer(data, np.uint8, offset=1))
    gaps, bits = entropy.read(bits, count, data[0] >> 3)
    excess, bits = entropy.read(bits, count, data[0] & 7)
    if len(bits) >= 8 or bits.any():
        raise ValueError(f"bytes are left after {count} values")
    return Overflow(np.cumsum(gaps + 1) - 1, excess + 1)


def _saturated(image):
    return (image == 0) | (image == 255)
