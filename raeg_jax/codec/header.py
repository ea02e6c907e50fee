"""The first 64 samples' lowest bits: the plan by which an image is marked."""

import zlib

import numpy as np

from raeg_jax.codec import plan as plans
from raeg_jax.codec import prediction

BITS = 64
_VERSION = 0


def pack(plan: plans.Plan, parts: int) -> bytes:
    """Returns the 8 bytes: check (16 bits), version 2, weight 2, base 4, parts 8, ways 8 x 4.

    Args:
      plan: how the image is marked.
      parts: how far, in 256th of the image's height: 1..256.
    """
    ways = plan.ways
    content = bytes(
        [
            _VERSION << 6 | plan.weight << 4 | plan.base,
            parts - 1,
            *(first << 4 | second for first, second in zip(ways[::2], ways[1::2], strict=True)),
        ]
    )
    return _check(content) + content


def unpack(data: bytes) -> tuple[plans.Plan, int] | None:
    """Returns what `pack` was given, or None for bytes that it can't have made."""
    check, content = data[:2], data[2:]
    weight, base = content[0] >> 4, content[0] & 15
    if check != _check(content) or weight >= len(prediction.WEIGHTS) or base not in plans.BASES:
        return None
    ways = tuple(way for pair in content[2:] for way in (pair >> 4, pair & 15))
    return plans.Plan(weight, base, ways), content[1] + 1


def _check(content):
    return zlib.crc32(b"raeg hiding" + content).to_bytes(4, "big")[:2]


def read_low_bits(image: np.ndarray) -> bytes:
    """Reads the header from uint8 samples of any shape, at least `BITS` many."""
    return np.packbits(image.ravel()[:BITS] & 1).tobytes()


def with_low_bits(image: np.ndarray, data: bytes) -> np.ndarray:
    """Returns a copy of an image whose first samples have these lowest bits."""
    image = image.copy()
    first = image.reshape(-1)[:BITS]
    first[:] = first & 0xFE | np.unpackbits(np.frombuffer(data, np.uint8))
    return image
