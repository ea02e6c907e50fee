"""Which samples each round of a gradient coupling may change; the others tell it how.

All but `checkerboard` mask one channel of every pixel, another one in each of three rounds: with
two channels known everywhere, the third can be estimated well. Masks come from NumPy and hashes:
they are the same with every version of JAX.
"""

import hashlib
from collections.abc import Callable

import numpy as np

_CHANNELS = 3


def checkerboard(height: int, width: int, rounds: int, key: bytes = b"") -> np.ndarray:
    """Whole pixels: the black fields of a checkerboard, then the white ones, and so on.

    Args:
      height: of the images, in pixels.
      width: of the images, in pixels.
      rounds: number of masks.
      key: not used.

    Returns:
      bool [rounds, height, width, 3], true where a round may change a sample.
    """
    parity = np.add.outer(np.arange(height), np.arange(width))
    fields = (parity + np.arange(rounds)[:, None, None]) % 2 == 0
    return np.repeat(fields[..., None], _CHANNELS, axis=-1)


def diagonal(height: int, width: int, rounds: int, key: bytes = b"") -> np.ndarray:
    """Red, green and blue in turn along each row, shifted by two from row to row.

    Args and result as `checkerboard`.
    """
    return _channels(np.add.outer(2 * np.arange(height), np.arange(width)), rounds)


def keyed(height: int, width: int, rounds: int, key: bytes) -> np.ndarray:
    """Each pixel's first channel is drawn by a key: who lacks it can't undo a round.

    SHAKE-256 of the key and the size draws it, from 64 bits a pixel: the three channels differ in
    probability by less than 2^-62.

    Args and result as `checkerboard`, but for `key`: any bytes.
    """
    seed = b"raeg masks %d %d " % (height, width) + key
    drawn = np.frombuffer(hashlib.shake_256(seed).digest(8 * height * width), "<u8")
    return _channels((drawn % np.uint64(_CHANNELS)).astype(int).reshape(height, width), rounds)


def random(height: int, width: int, rounds: int, key: bytes = b"") -> np.ndarray:
    """As `keyed`, with a key that everyone knows.

    Args and result as `checkerboard`.
    """
    return keyed(height, width, rounds, b"")


MASKS: dict[str, Callable[[int, int, int, bytes], np.ndarray]] = {
    "checkerboard": checkerboard,
    "diagonal": diagonal,
    "random": random,
    "keyed": keyed,
}


def _channels(first, rounds):
    """Masks the channel `first` [H, W] of each pixel (modulo 3), then the next, and so on."""
    channel = (first + np.arange(rounds)[:, None, None]) % _CHANNELS
    return channel[..., None] == np.arange(_CHANNELS)
