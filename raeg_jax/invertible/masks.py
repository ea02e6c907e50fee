"""Which samples each round of a gradient coupling may change; the others tell it how.

All but `checkerboard` mask one channel of every pixel, another one in each of three rounds: with
two channels known everywhere, the third can be estimated well. Masks come from NumPy and hashes:
they are the same with every version of JAX.
"""

import hashlib
from collections.abc import Callable

import numpy as np

_CHANNELS = 3


def checkerboard(height: int, width: int, key: bytes = b"") -> np.ndarray:
    """Whole pixels: the black fields of a checkerboard, then the white ones.

    Args:
      height: of the images, in pixels.
      width: of the images, in pixels.
      key: not used.

    Returns:
      bool [period, height, width, 3], true where a round may change a sample; the rounds use them
      in turn.
    """
    black = np.add.outer(np.arange(height), np.arange(width)) % 2 == 0
    return np.repeat(np.stack([black, ~black])[..., None], _CHANNELS, axis=-1)


def diagonal(height: int, width: int, key: bytes = b"") -> np.ndarray:
    """Red, green and blue in turn along each row, shifted by two from row to row.

    Args and result as `checkerboard`.
    """
    return _channels(np.add.outer(2 * np.arange(height), np.arange(width)))


def keyed(height: int, width: int, key: bytes) -> np.ndarray:
    """Each pixel's first channel is drawn by a key: who lacks it can't undo a round.

    SHAKE-256 of the key and the size draws it, from 64 bits a pixel: the three channels differ in
    probability by less than 2^-62.

    Args and result as `checkerboard`, but for `key`: any bytes.
    """
    seed = b"raeg masks %d %d " % (height, width) + key
    drawn = np.frombuffer(hashlib.shake_256(seed).digest(8 * height * width), "<u8")
    return _channels((drawn % np.uint64(_CHANNELS)).astype(int).reshape(height, width))


def random(height: int, width: int, key: bytes = b"") -> np.ndarray:
    """As `keyed`, with a key that everyone knows.

    Args and result as `checkerboard`.
    """
    return keyed(height, width, b"")


MASKS: dict[str, Callable[[int, int, bytes], np.ndarray]] = {
    "checkerboard": checkerboard,
    "diagonal": diagonal,
    "random": random,
    "keyed": keyed,
}


def _channels(first):
    """Masks the channel `first` [H, W] of each pixel (modulo 3), then the two next ones."""
    channel = (first + np.arange(_CHANNELS)[:, None, None]) % _CHANNELS
    return channel[..., None] == np.arange(_CHANNELS)
