"""Tokens and keys of evaluations: fixed ones, so that results can be repeated."""

import hashlib

import numpy as np

from raeg_jax.generator.chain import Chain
from raeg_jax.payload import token
from raeg_jax.payload.key import Key
from raeg_jax.payload.payload import NONCE_SIZE

# Not secret: nobody's images are protected with them.
RIGHT, WRONG = b"raeg evaluation: the right key", b"raeg evaluation: a wrong key"


def draw(
    generator: Chain, numbers: np.ndarray, height: int, width: int, key: bytes = RIGHT
) -> np.ndarray | None:
    """Draws a token for each image.

    Args:
      generator: says how many planes P.
      numbers: int [B], the images' numbers in their split, which stand for nonces.
      height: of the images, in pixels.
      width: of the images, in pixels.
      key: `RIGHT`, `WRONG` or any other bytes.

    Returns:
      int8 [B, height, width, P]; None where P is 0.
    """
    if not generator.token_planes:
        return None
    nonces = [nonce_of(number) for number in numbers]
    return np.stack(
        [token.draw_planes(key, nonce, height, width, generator.token_planes) for nonce in nonces]
    )


def nonce_of(number: int) -> bytes:
    """The nonce of the image with this number in its split."""
    return int(number).to_bytes(NONCE_SIZE, "little")


def key_of(seed: int, purpose: str) -> Key:
    """The key of an experiment, which is no secret.

    Args:
      seed: of the run.
      purpose: keys for different purposes have nothing in common.
    """
    return Key(hashlib.sha256(f"raeg {purpose} {seed}".encode()).digest())
