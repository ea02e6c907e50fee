"""Rounding to the 8-bit grid, with gradients that pass straight through.

A protected image is a file of 8-bit samples. Training applies the rounding and clipping of the
file; their gradient counts as that of the identity (straight-through estimator, Bengio et al.,
arXiv 1308.3432).
"""

import jax
import jax.numpy as jnp


def round_ste(x: jax.Array) -> jax.Array:
    """Rounds to the nearest integer, ties to even; the gradient is that of the identity."""
    return straight_through(jnp.round(x), x)


def floor_ste(x: jax.Array) -> jax.Array:
    """Rounds down; the gradient is that of the identity."""
    return straight_through(jnp.floor(x), x)


def clip_ste(x: jax.Array) -> jax.Array:
    """Clips to 0..255; the gradient is that of the identity, outside the range too."""
    return straight_through(jnp.clip(x, 0.0, 255.0), x)


def quantise(x: jax.Array) -> jax.Array:
    """Q of the training objective: rounds and clips to the values of an 8-bit file, as float32.

    Args:
      x: float32, any shape, in pixel units.

    Returns:
      Integers in 0..255 as float32, same shape; the gradient passes straight through.
    """
    return straight_through(jnp.clip(jnp.round(x), 0.0, 255.0), x)


def to_uint8(x: jax.Array) -> jax.Array:
    """Rounds, clips to 0..255 and casts: pixel units to the samples of a file."""
    return jnp.clip(jnp.round(x), 0.0, 255.0).astype(jnp.uint8)


@jax.custom_jvp
def straight_through(value: jax.Array, x: jax.Array) -> jax.Array:
    """Forward exactly `value`, backward as if it were x."""
    return value


@straight_through.defjvp
def _straight_through_jvp(primals, tangents):
    return primals[0], tangents[1]
