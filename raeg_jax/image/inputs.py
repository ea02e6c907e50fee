"""Checks and conversion of the images and labels that users pass in."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def as_images(*batches: jax.Array) -> tuple[jax.Array, ...]:
    """Converts images of any real type to float32 and, outside `jit`, checks their range.

    Args:
      *batches: one or more arrays [B, H, W, C] in pixel units, 0 to 255.

    Raises:
      ValueError: not four axes, or floating-point values within 0..1, not all of them 0.
        Values that `jit` traces are unknown and pass.
    """
    for batch in batches:
        if jnp.ndim(batch) != 4:
            raise ValueError(f"images must be a batch [B, H, W, C], not {list(jnp.shape(batch))}")
    # NumPy's functions: inside `jit` JAX's would not give values even of constants.
    if not any(isinstance(batch, jax.core.Tracer) for batch in batches):
        known = [np.asarray(batch) for batch in batches]
        if all(map(_is_unit_range, known)) and any(x.any() for x in known):
            raise ValueError("images lie within 0..1, but count in 0..255: multiply them by 255")
    return tuple(jnp.asarray(batch, jnp.float32) for batch in batches)


def _is_unit_range(x):
    return np.issubdtype(x.dtype, np.floating) and np.all((x >= 0) & (x <= 1))


def as_labels(labels: jax.Array | Sequence[int], images: jax.Array) -> jax.Array:
    """Converts class numbers to int32 [B].

    Args:
      labels: whole numbers, an array or a list.
      images: [B, ...], the images of these classes.

    Raises:
      ValueError: not one whole number for each image.
    """
    labels = jnp.asarray(labels)
    if labels.shape != images.shape[:1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"labels must be one whole number for each of {len(images)} images, "
            f"not {labels.dtype} {list(labels.shape)}"
        )
    return labels.astype(jnp.int32)
