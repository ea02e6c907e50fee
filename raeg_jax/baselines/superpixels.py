"""Squares of s x s pixels that share one change, so that there is less of it to hide.

The last squares of rows and columns are cut where the side of the image is no multiple of s.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.attacks.gradient import LogitsFn


def spread(values: np.ndarray, height: int, width: int, side: int) -> np.ndarray:
    """Gives every pixel the value of its superpixel.

    Args:
      values: [..., ceil(H / s), ceil(W / s), C], of NumPy or JAX.
      height: H of the result, in pixels.
      width: W.
      side: s, in pixels.

    Returns:
      [..., H, W, C] of the same type.
    """
    return values.repeat(side, axis=-3)[..., :height, :, :].repeat(side, axis=-2)[..., :width, :]


def means(values: np.ndarray, side: int) -> np.ndarray:
    """The reverse of `spread`, with the mean of each superpixel.

    Args:
      values: float [..., H, W, C], of NumPy or JAX.
      side: s, in pixels.

    Returns:
      [..., ceil(H / s), ceil(W / s), C] of the same type.
    """
    for axis in (-3, -2):
        values = _means(values, side, axis)
    return values


def fit_tiles(image: np.ndarray, side: int, tile: int) -> np.ndarray:
    """Makes a large image one of whole superpixels, by repeating its last rows and columns.

    Args:
      image: [H, W, C].
      side: s, in pixels.
      tile: side of tiles, in pixels, a multiple of s. What fits into one stays as it is.
    """
    if max(image.shape[:2]) <= tile:
        return image
    more = [(0, -length % side) for length in image.shape[:2]]
    return np.pad(image, [*more, (0, 0)], mode="edge")


def extremes(image: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest sample of each superpixel, [ceil(H / s), ceil(W / s), C] each."""
    rows, columns = (np.arange(0, length, side) for length in image.shape[:2])
    return tuple(
        end.reduceat(end.reduceat(image, rows, axis=0), columns, axis=1)
        for end in (np.minimum, np.maximum)
    )


@flax.struct.dataclass
class OnSuperpixels:
    """A classifier that sees of any change to some images only its mean over each superpixel.

    An attack on it descends along gradients that are constant on superpixels: what it finds keeps
    its effect when the change is replaced by its means.

    Attributes:
      logits_fn: the classifier, a pytree.
      images: float32 [B, H, W, 3], the unchanged images, in pixel units.
      side: of the superpixels.
    """

    logits_fn: LogitsFn
    images: jax.Array
    side: int = flax.struct.field(pytree_node=False)

    def __call__(self, changed: jax.Array) -> jax.Array:
        """Maps float32 [B, H, W, 3] to logits [B, K]."""
        height, width = changed.shape[1:3]
        change = spread(means(changed - self.images, self.side), height, width, self.side)
        return self.logits_fn(jnp.clip(self.images + change, 0, 255))


def _means(values, side, axis):
    """Means of so many neighbours along one axis; the last group may be smaller."""
    library = jnp if isinstance(values, jax.Array) else np
    length = values.shape[axis]
    groups = -(-length // side)
    padding = [(0, 0)] * values.ndim
    padding[axis] = (0, groups * side - length)
    at = values.ndim + axis
    padded = library.pad(values, padding)
    sums = padded.reshape(*values.shape[:at], groups, side, *values.shape[at + 1 :]).sum(at + 1)
    counts = np.minimum(side, length - side * np.arange(groups)).astype(values.dtype)
    return sums / counts.reshape(-1, *[1] * (-axis - 1))
