"""The images of a split to be evaluated: in memory, or decoded a batch at a time."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from raeg_jax import data
from raeg_jax.data.memory import fits, images_of, labels_of, names_of, spread


class DecodedOnDemand:
    """Images of records, indexed like the array of them and decoded whenever asked for."""

    def __init__(self, records: Sequence[dict], chosen: np.ndarray, settings: ConfigDict):
        self._records = records
        self._chosen = chosen
        self._settings = settings

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """The images at `index`, int [B]: uint8 [B, S, S, 3]."""
        chosen = self._chosen[index]
        return images_of(self._records, self._settings.image_size, self._settings, chosen)


def open_split(
    split: Sequence[dict], settings: ConfigDict, max_images: int = 0
) -> tuple[np.ndarray | DecodedOnDemand, np.ndarray, list[str]]:
    """As `data.arrays`, but images above `settings.memory_mib` are never in memory all at once.

    Args:
      split: records `{"image": bytes, "label": int, "file_name": str}`.
      settings: `config.data`.
      max_images: where positive, at most so many images, spread evenly over classes.

    Returns:
      Images, uint8 [N, S, S, 3] or what gives uint8 [B, S, S, 3] for indices [B]; labels
      int32 [N]; file names.
    """
    labels, names = labels_of(split), names_of(split)
    chosen = np.arange(len(split))
    if 0 < max_images < len(split):
        chosen = spread(labels, max_images)
    if fits(chosen, settings.image_size, settings):
        return data.arrays(split, settings.image_size, settings, max_images)
    return DecodedOnDemand(split, chosen, settings), labels[chosen], [names[i] for i in chosen]
