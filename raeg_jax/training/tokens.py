"""Random tokens for training; those of images come from keys, see `raeg_jax.payload.token`."""

import jax
import jax.numpy as jnp

from raeg_jax.payload.token import CELL


def draw(key: jax.Array, index: jax.Array, height: int, width: int, count: int) -> jax.Array | None:
    """Draws a token for each image.

    Args:
      key: of the step and of what the tokens are for.
      index: int32 [B], each image's place in the global batch: draws don't depend on devices.
      height: of the images, in pixels.
      width: of the images, in pixels.
      count: number of planes P; 0 for none.

    Returns:
      float32 [B, height, width, P], +1 and -1 in squares of `CELL` pixels; None where P is 0.
    """
    if not count:
        return None
    cells = (-(-height // CELL), -(-width // CELL), count)
    signs = jax.vmap(
        lambda i: jax.random.rademacher(jax.random.fold_in(key, i), cells, jnp.float32)
    )(index)
    return signs.repeat(CELL, axis=1).repeat(CELL, axis=2)[:, :height, :width]
