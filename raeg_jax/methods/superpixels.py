"""Superpixels: squares of s x s pixels that share one change, so that there is less of it to hide.

The last squares of rows and columns are cut where the side of the image is no multiple of s.
"""

from collections.abc import Sequence
from typing import TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.networks.classifiers import LogitsFn

Array = TypeVar("Array", np.ndarray, jax.Array)


def spread(values: Array, shape: Sequence[int], side: int) -> Array:
    """Gives every pixel the value of its superpixel.

    Args:
      values: [..., ceil(H / s), ceil(W / s), C].
      shape: (H, W) of the result, in pixels.
      side: s, in pixels.

    Returns:
      [..., H, W, C] of the same type.
    """
    height, width = shape
    return values.repeat(side, axis=-3)[..., :height, :, :].repeat(side, axis=-2)[..., :width, :]


def means(values: Array, side: int) -> Array:
    """The reverse of `spread`, with the mean of each superpixel.

    Args:
      values: float [..., H, W, C].
      side: s, in pixels.

    Returns:
      [..., ceil(H / s), ceil(W / s), C] of the same type.
    """
    library = jnp if isinstance(values, jax.Array) else np
    for axis in (values.ndim - 3, values.ndim - 2):
        before, length, after = values.shape[:axis], values.shape[axis], values.shape[axis + 1 :]
        groups = -(-length // side)
        padding = [(0, 0)] * values.ndim
        padding[axis] = (0, groups * side - length)
        padded = library.pad(values, padding)
        sums = padded.reshape(*before, groups, side, *after).sum(axis + 1)
        counts = np.minimum(side, length - side * np.arange(groups)).astype(values.dtype)
        values = sums / counts.reshape(-1, *[1] * len(after))
    return values


def extremes(image: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest sample of each superpixel, [ceil(H / s), ceil(W / s), C] each."""
    rows, columns = (np.arange(0, length, side) for length in image.shape[:2])
    least, greatest = (
        extreme.reduceat(extreme.reduceat(image, rows, axis=0), columns, axis=1)
        for extreme in (np.minimum, np.maximum)
    )
    return least, greatest


def pad_large(image: np.ndarray, side: int, tile: int) -> np.ndarray:
    """Repeats the last rows and columns of a large image until all its superpixels are whole.

    Args:
      image: [H, W, C]; stays as it is where it fits into one tile.
      side: s, in pixels.
      tile: side of tiles, in pixels, a multiple of s.
    """
    if max(image.shape[:2]) <= tile:
        return image
    more = [(0, -length % side) for length in image.shape[:2]]
    return np.pad(image, [*more, (0, 0)], mode="edge")


@flax.struct.dataclass
class OnSuperpixels:
    """A classifier that sees of a change to some images only its mean over each superpixel.

    An attack on it descends along gradients that are constant on superpixels, so its change keeps
    its effect when it is replaced by its means.

    Attributes:
      logits_fn: the classifier, a pytree.
      images: float32 [B, H, W, 3], the unchanged images, in pixel units.
      side: of the superpixels, in pixels.
    """

    logits_fn: LogitsFn
    images: jax.Array
    side: int = flax.struct.field(pytree_node=False)

    def __call__(self, changed: jax.Array) -> jax.Array:
        """Maps float32 [B, H, W, 3] to logits [B, K]."""
        change = spread(means(changed - self.images, self.side), changed.shape[1:3], self.side)
        return self.logits_fn(jnp.clip(self.images + change, 0, 255))
