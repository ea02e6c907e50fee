"""A split in batches of one size, and a bar that shows how many images are done."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from raeg_jax.bar import ProgressBar
from raeg_jax.data.memory import DecodedOnDemand


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
      how many of them are no repetitions.

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


def measure_all(
    measure: Callable[[np.ndarray, np.ndarray, np.ndarray], Mapping[Any, Any]],
    images: np.ndarray | DecodedOnDemand,
    labels: np.ndarray,
    batch_size: int,
    description: str = "",
) -> dict[Any, np.ndarray]:
    """Measures something of every image, batch by batch.

    Args:
      measure: from numbers, images and labels, as `batches` has them, to arrays [B, ...] by name.
      images: as `batches`.
      labels: as `batches`.
      batch_size: as `batches`.
      description: what a progress bar says, in the main process only; no bar where empty. It
        begins by saying that it compiles.

    Returns:
      Arrays [N, ...] by name.

    Raises:
      ValueError: as `batches`.
    """
    rows = []
    with ProgressBar(
        total=len(labels),
        desc=f"{description}: compiling (the first batch takes longest)",
        unit="img",
        disable=not description or jax.process_index() != 0,
    ) as bar:
        for *batch, count in batches(images, labels, batch_size):
            measured = measure(*batch)
            rows.append({name: np.asarray(values)[:count] for name, values in measured.items()})
            bar.set_description(description)
            bar.update(count)
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
