"""The values outside 0..255 that an 8-bit image can't hold, in few bytes.

A clipped value is 0 or 255 in the image, and the image is there when values are put back. So its
rank among the image's saturated samples takes the place of its position, and the side on which it
left the range needs no sign: a quarter to a half less to store.
"""

from typing import NamedTuple

import numpy as np

from raeg_jax.errors import DivergedError
from raeg_jax.payload.coding import best_rice_parameter, read_rice, write_rice
from raeg_jax.payload.errors import TamperedPixelsError

# Largest Rice parameters: of 5 and 3 bits, so that both take one byte.
_MAX_GAP_K, _MAX_AMOUNT_K = 31, 7
# Codes of larger amounts would grow beyond all use; a value so far off is a fault.
MAX_AMOUNT = 2**16 - 1


class Overflow(NamedTuple):
    """The clipped values of an image.

    Attributes:
      ranks: int64 [n], increasing: the samples' positions in C order [H, W, 3] among those that
        are 0 or 255 in the clipped image.
      amounts: int64 [n], how far outside the values were, 1..65535.
    """

    ranks: np.ndarray
    amounts: np.ndarray


def clip(values: np.ndarray) -> tuple[np.ndarray, Overflow]:
    """Clips values to 8 bits, and returns also what that loses.

    Args:
      values: integers of any integer type [H, W, 3].

    Returns:
      uint8 [H, W, 3], and the overflow.

    Raises:
      DivergedError: values are farther outside than `MAX_AMOUNT`.
    """
    check_range(values, MAX_AMOUNT)
    image = np.clip(values, 0, 255).astype(np.uint8)
    saturated = values[_saturated(image)].astype(np.int32)
    excess = np.maximum(-saturated, saturated - 255)
    ranks = np.flatnonzero(excess > 0)
    return image, Overflow(ranks, excess[ranks].astype(np.int64))


def check_range(values: np.ndarray, most: int) -> None:
    """Stops at values that no 8-bit image comes near.

    Args:
      values: integers of any integer type [H, W, 3].
      most: how far outside 0..255 they may be.

    Raises:
      DivergedError: some are farther outside.
    """
    excess = max(-int(values.min()), int(values.max()) - 255)
    if excess > most:
        raise DivergedError(
            f"the generator takes samples {excess} beyond 0..255, as one does whose training "
            "diverged: train it again with a lower config.optimizer.learning_rate"
        )


def unclip(image: np.ndarray, overflow: Overflow) -> np.ndarray:
    """Undoes `clip`.

    Args:
      image: uint8 [H, W, 3].
      overflow: the clipped values.

    Returns:
      int16 [H, W, 3]; int32 where a value needs it.

    Raises:
      TamperedPixelsError: the image isn't the one that was clipped.
    """
    saturated = _saturated(image)
    is_far = overflow.amounts.max(initial=0) > np.iinfo(np.int16).max - 255
    values = image.astype(np.int32 if is_far else np.int16)
    extreme = values[saturated]
    if len(overflow.ranks) and overflow.ranks[-1] >= len(extreme):
        raise TamperedPixelsError(
            f"the image has {len(extreme)} samples of 0 or 255, fewer than when it was protected: "
            "its pixels have been changed, take an untouched copy"
        )
    sign = np.where(extreme[overflow.ranks] == 0, -1, 1)
    extreme[overflow.ranks] += (sign * overflow.amounts).astype(values.dtype)
    values[saturated] = extreme
    return values


def _saturated(image: np.ndarray) -> np.ndarray:
    return (image == 0) | (image == 255)


def write_overflow(overflow: Overflow) -> bytes:
    """Codes one value or more: Rice codes of gaps and amounts, without the number of values."""
    gaps = np.diff(overflow.ranks, prepend=-1) - 1
    excess = overflow.amounts - 1
    gap_k = best_rice_parameter(gaps, _MAX_GAP_K)
    amount_k = best_rice_parameter(excess, _MAX_AMOUNT_K)
    bits = np.concatenate([write_rice(gaps, gap_k), write_rice(excess, amount_k)])
    return bytes([gap_k << 3 | amount_k]) + np.packbits(bits).tobytes()


def read_overflow(data: bytes, count: int) -> Overflow:
    """Undoes `write_overflow`.

    Args:
      data: all of the code.
      count: number of values, at least one.

    Raises:
      ValueError: the bytes aren't the code of so many values.
    """
    # Two bits a value at least: a wrong count allocates no large array.
    if 2 * count > 8 * (len(data) - 1):
        raise ValueError(f"{len(data)} bytes are too few for {count} values")
    bits = np.unpackbits(np.frombuffer(data, np.uint8, offset=1))
    gaps, bits = read_rice(bits, count, data[0] >> 3)
    excess, bits = read_rice(bits, count, data[0] & 7)
    if len(bits) >= 8 or bits.any():
        raise ValueError(f"bytes are left after {count} values")
    return Overflow(np.cumsum(gaps + 1) - 1, excess + 1)
