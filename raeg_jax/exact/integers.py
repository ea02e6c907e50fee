"""Roots, means and quotients of integers.

All integers have 32 bits: JAX has wider ones only where x64 is enabled.
"""

import jax
import jax.numpy as jnp

# Largest magnitude that `rms` and `to_rms` take: its square has 24 bits.
LIMIT = 2**12 - 1
# `rms` counts in eighths.
RMS_PARTS = 8
_HALF = 15


def divide(a: jax.Array, b: jax.Array | int) -> jax.Array:
    """The nearest integer to a / b, halves up; b of 0 counts as 1.

    Args:
      a: int32, below 2^30 in magnitude.
      b: int32, from 0 to 2^29.
    """
    b = jnp.maximum(b, 1)
    return (2 * a + b) // (2 * b)


def isqrt(x: jax.Array) -> jax.Array:
    """The square root rounded down, digit by digit: uint32 below 2^30 -> uint32."""
    root = jnp.zeros_like(x)
    for bit in reversed(range(15)):
        larger = root | jnp.uint32(1 << bit)
        root = jnp.where(larger * larger <= x, larger, root)
    return root


def rms(x: jax.Array) -> jax.Array:
    """Root mean square of each image, rounded down to eighths.

    Args:
      x: int32 [B, H, W, C], at most `LIMIT` in magnitude; H and W C at most 2^17.

    Returns:
      int32 [B, 1, 1, 1], in eighths.
    """
    squares = (x * x).astype(jnp.uint32) * jnp.uint32(RMS_PARTS**2)
    return isqrt(_mean(_mean(squares, (2, 3)), 1)).astype(jnp.int32)


def to_rms(x: jax.Array, target: jax.Array) -> jax.Array:
    """Scales each image to a root mean square; zeros stay zeros.

    Args:
      x: as for `rms`.
      target: int32, a scalar or [B, 1, 1, 1], in eighths; at most 2^18.

    Returns:
      int32, the shape of x, rounded.
    """
    return divide(x * target, rms(x))


def _mean(x, axis):
    """Mean over `axis` of at most 2^17 uint32 below 2^30, rounded down; keeps the axis."""
    mask = jnp.uint32((1 << _HALF) - 1)
    # Sums of the 15-bit halves cannot overflow; then long division.
    high = jnp.sum(x >> _HALF, axis, keepdims=True, dtype=jnp.uint32)
    low = jnp.sum(x & mask, axis, keepdims=True, dtype=jnp.uint32)
    count = jnp.uint32(x.size // high.size)
    high, low = high + (low >> _HALF), low & mask
    return (high // count << _HALF) + ((high % count << _HALF) + low) // count
