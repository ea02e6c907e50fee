"""Which samples each round of a gradient coupling may change; the others tell it how.

All but `checkerboard` mask one channel of every pixel, another one in each of three rounds: with
two channels known everywhere, the third can be estimated well. Masks come from NumPy and hashes:
they are the same with every version of JAX.
"""

import hashlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

_CHANNELS = 3


def checkerboard(height: int, width: int) -> np.ndarray:
    """Whole pixels: the black fields of a checkerboard, then the white ones.

    Args:
      height: of the images, in pixels.
      width: of the images, in pixels.

    Returns:
      bool [period, height, width, 3], true where a round may change a sample; the rounds use them
      in turn.
    """
    black = np.add.outer(np.arange(height), np.arange(width)) % 2 == 0
    return np.repeat(np.stack([black, ~black])[..., None], _CHANNELS, axis=-1)


def diagonal(height: int, width: int) -> np.ndarray:
    """Red, green and blue in turn along each row, shifted by two from row to row.

    Args and result as `checkerboard`.
    """
    return _channels(np.add.outer(2 * np.arange(height), np.arange(width)))


def random(height: int, width: int) -> np.ndarray:
    """Each pixel's first channel is drawn, the same in every run.

    SHAKE-256 of the size draws it, from 64 bits a pixel: the three channels differ in probability
    by less than 2^-62.

    Args and result as `checkerboard`.
    """
    seed = b"raeg masks %d %d " % (height, width)
    drawn = np.frombuffer(hashlib.shake_256(seed).digest(8 * height * width), "<u8")
    return _channels((drawn % np.uint64(_CHANNELS)).astype(int).reshape(height, width))


MASKS: dict[str, Callable[[int, int], np.ndarray]] = {
    "checkerboard": checkerboard,
    "diagonal": diagonal,
    "random": random,
}


def in_turn(masks: np.ndarray, index: jax.Array, token: jax.Array | None) -> jax.Array:
    """The masks of one round.

    A token lets each of its cells begin elsewhere in the turn: who lacks it does not know which
    samples a round changed. All samples still have their turn once a period.

    Args:
      masks: bool [period, H, W, C].
      index: of the round, int32 scalar.
      token: +1 and -1, [B, H, W, P], or None.

    Returns:
      bool [B, H, W, C]; B is 1 without a token.
    """
    masks = jnp.asarray(masks)
    if token is None:
        return masks[index % len(masks)][None]
    start = jnp.sum(token < 0, axis=-1, keepdims=True, dtype=jnp.int32)
    turn = (index + start) % len(masks)
    return jnp.any(
        (turn[None] == jnp.arange(len(masks))[:, None, None, None, None]) & masks[:, None], 0
    )


def _channels(first):
    """Masks the channel `first` [H, W] of each pixel (modulo 3), then the two next ones."""
    channel = (first + np.arange(_CHANNELS)[:, None, None]) % _CHANNELS
    return channel[..., None] == np.arange(_CHANNELS)
