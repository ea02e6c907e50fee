"""The tokens with which generators are evaluated: fixed ones, so that results can be repeated."""

import numpy as np

from raeg_jax.codec import token
from raeg_jax.codec.payload import NONCE_SIZE
from raeg_jax.invertible.chain import Chain

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
    nonces = [int(number).to_bytes(NONCE_SIZE, "little") for number in numbers]
    return np.stack(
        [token.planes(key, nonce, height, width, generator.token_planes) for nonce in nonces]
    )
