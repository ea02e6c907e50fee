"""Walking over a split: batches of one size, and a bar that shows how far it is."""

from collections.abc import Iterator

import jax
import numpy as np
from tqdm import tqdm

from raeg_jax.evaluation.images import DecodedOnDemand


def batches(
    images: np.ndarray | DecodedOnDemand, labels: np.ndarray, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """Batches of one size, so that everything is compiled once.

    The last image is repeated where the last batch is not full.

    Args:
      images: uint8 [N, H, W, 3], or what gives them for indices.
      labels: int [N].
      batch_size: images at a time, B.

    Yields:
      The images' numbers, int32 [B]; the images, uint8 [B, H, W, 3]; the labels, int32 [B]; and
      how many of them are real.

    Raises:
      ValueError: no images, not as many labels, or a batch size below one.
    """
    if not len(images) or len(images) != len(labels):
        raise ValueError(f"need images and as many labels, got {len(images)} and {len(labels)}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    for start in range(0, len(images), batch_size):
        index = np.minimum(np.arange(start, start + batch_size), len(images) - 1)
        batch = np.asarray(images[index]), np.asarray(labels[index], np.int32)
        yield index.astype(np.int32), *batch, min(batch_size, len(images) - start)


def progress(total: int, description: str) -> tqdm:
    """A bar of `total` images, in the main process only, that begins by saying that it compiles."""
    return tqdm(
        total=total,
        desc=f"{description}: compiling (the first batch takes longest)",
        unit="img",
        disable=jax.process_index() != 0,
    )
