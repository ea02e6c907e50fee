"""Square blocks of an image, their classes by variance, and which block goes where.

For RIT (`raeg_jax.baselines.rit`). Variances are whole numbers that a shift, a rotation or another
place doesn't change, so the transformed image shows of which class the block at a place is. With
the class of each original block the permutation is known.
"""

import warnings

import numpy as np
from scipy.cluster.vq import kmeans2


def cut(image: np.ndarray, side: int) -> np.ndarray:
    """Cuts an image into blocks; incomplete ones at the right and at the bottom are left out.

    Args:
      image: [H, W, C].
      side: of the blocks, in pixels.

    Returns:
      [n, side, side, C], in rows from the top, from left to right.
    """
    rows, columns = image.shape[0] // side, image.shape[1] // side
    whole = image[: rows * side, : columns * side]
    parts = whole.reshape(rows, side, columns, side, image.shape[2]).swapaxes(1, 2)
    return parts.reshape(rows * columns, side, side, image.shape[2])


def paste(blocks: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Undoes `cut`.

    Args:
      blocks: [n, side, side, C].
      image: [H, W, C], has what is not in a block.

    Returns:
      A copy of the image with these blocks.
    """
    side = blocks.shape[1]
    rows, columns = image.shape[0] // side, image.shape[1] // side
    parts = blocks.reshape(rows, columns, side, side, image.shape[2]).swapaxes(1, 2)
    pasted = image.copy()
    pasted[: rows * side, : columns * side] = parts.reshape(
        rows * side, columns * side, image.shape[2]
    )
    return pasted


def variances(blocks: np.ndarray) -> np.ndarray:
    """Sum over channels of each block's variance, times the squared number of its pixels.

    Args:
      blocks: integers [n, side, side, C].

    Returns:
      int64 [n].
    """
    values = blocks.astype(np.int64)
    squares = blocks.shape[1] ** 2 * np.sum(values**2, axis=(1, 2))
    return np.sum(squares - np.sum(values, axis=(1, 2)) ** 2, axis=-1)


def classify(measures: np.ndarray, classes: int) -> np.ndarray:
    """Classes of blocks by their standard deviation, found with k-means.

    Args:
      measures: int64 [n], of `variances`.
      classes: greatest number of classes.

    Returns:
      int64 [n], 0 for the smoothest ones. Of two classes, one has all the greater measures.
    """
    deviations = np.sqrt(measures.astype(float))
    if classes == 1 or not len(measures):
        return np.zeros(len(measures), np.int64)
    centres = np.quantile(np.unique(deviations), (np.arange(classes) + 0.5) / classes)
    with warnings.catch_warnings():
        # Few different values: some classes stay empty.
        warnings.simplefilter("ignore")
        centres = np.sort(kmeans2(deviations[:, None], centres[:, None], minit="matrix")[0][:, 0])
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, deviations)


def classify_alike(measures: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Classes of another image's blocks, with given numbers of blocks.

    Args:
      measures: int64 [n], of `variances`.
      counts: int64 [classes], their sum is n.

    Returns:
      int64 [n], 0 for the smoothest ones.
    """
    found = np.empty(len(measures), np.int64)
    found[np.argsort(measures, kind="stable")] = np.repeat(np.arange(len(counts)), counts)
    return found


def places(own: np.ndarray, there: np.ndarray, stay: bool) -> np.ndarray:
    """Where each block goes: to a place of its class.

    Args:
      own: int64 [n], classes of the blocks.
      there: int64 [n], classes of the places, of each as many.
      stay: leave blocks where they are if that is a place of their class; only the others then are
        paired in scan order. Else all are.

    Returns:
      int64 [n], a permutation.
    """
    moved = np.flatnonzero(own != there) if stay else np.arange(len(own))
    goals = np.arange(len(own))
    by_class = (moved[np.argsort(side[moved], kind="stable")] for side in (own, there))
    origin, goal = by_class
    goals[origin] = goal
    return goals
