"""What a bundle's classifiers see in images."""

from collections.abc import Sequence

import numpy as np

from raeg_jax.data.decode import fit
from raeg_jax.evaluation import compiled
from raeg_jax.networks.frozen import FrozenClassifier
from raeg_jax.protection import tiles
from raeg_jax.protection.loaded_generator import LoadedGenerator


class Readers:
    """The classifiers of a bundle."""

    def __init__(self, bundle: LoadedGenerator, batch_size: int):
        """Prepares the classifiers.

        Args:
          bundle: with classifiers.
          batch_size: number of images at a time.
        """
        self._size = bundle.config.data.image_size
        self._class_names = bundle.class_names
        self._batch_size = batch_size
        self._classifiers = {
            name: FrozenClassifier(*pair) for name, pair in bundle.classifiers.items()
        }

    def read(self, images: Sequence[np.ndarray]) -> dict[str, list[str]]:
        """Classifies images.

        Args:
          images: uint8 [H, W, 3], of any sizes; the square in the middle is scaled to the size of
            training, as in training.

        Returns:
          by classifier, the name of the class of each image.
        """
        seen = {name: [] for name in self._classifiers}
        for start in range(0, len(images), self._batch_size):
            part = images[start : start + self._batch_size]
            batch = np.stack([fit(image, self._size) for image in part])
            # Filled up, so that everything is compiled once.
            batch = tiles.pad_batch(batch, self._batch_size)
            for name, classes in compiled.read(self._classifiers, batch).items():
                seen[name] += [self._class_names[i] for i in np.asarray(classes)[: len(part)]]
        return seen
