"""A look at the generator while it trains: how well it does on test images, and how they look."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax import data, evaluation
from raeg_jax.evaluation import compiled
from raeg_jax.evaluation.grid import grid
from raeg_jax.evaluation.making import Pixels
from raeg_jax.evaluation.protection import examples
from raeg_jax.invertible.chain import Chain, Learned
from raeg_jax.networks.frozen import FrozenClassifier
from raeg_jax.training.logs import MetricLog

# The PSNR in dB that a checkpoint may miss the target by and still be called the best.
_SLACK = 1.0
_GRID_ROWS = 4


class Monitor:
    """Evaluates averaged parameters on `config.train.eval_images` test images."""

    def __init__(
        self,
        config: ConfigDict,
        splits: data.Splits,
        generator: nn.Module,
        targets: Mapping[str, tuple[nn.Module, Any]],
    ):
        """Loads the images.

        Args:
          config: the whole configuration.
          splits: the data set.
          generator: the invertible network.
          targets: (module, variables) of the attacked classifiers by name.
        """
        self._config = config
        self._generator = generator
        self._class_names = splits.class_names
        self._targets = {name: FrozenClassifier(*pair) for name, pair in targets.items()}
        self._images, self._labels, _ = data.arrays(
            splits.test, config.data.image_size, config.data, config.train.eval_images
        )
        self._batch_size = min(config.eval.batch_size, len(self._labels))

    def look(self, step: int, params: Any, log: MetricLog) -> dict[str, float] | None:
        """Evaluates and logs scalars 'eval/...' and a picture.

        Args:
          step: of the parameters.
          params: of the generator, on any number of devices.
          log: where to.

        Returns:
          The scalars, if the checkpoint of this step may be the best one. Early in training images
          are far from the target PSNR and attacks easy: such a checkpoint may not, and gives None.
        """
        generator = compiled.on_one_device(Chain((Learned(self._generator, params),)))
        values = evaluation.quick(
            generator,
            self._targets,
            self._images,
            self._labels,
            batch_size=self._batch_size,
        )
        log.scalars(step, {f"eval/{name}": value for name, value in values.items()})
        if self._config.train.image_grids:
            log.images(
                step, "eval/original_protected_difference_recovered", self._picture(generator)
            )
        near = values["psnr"] >= self._config.loss.target_psnr - _SLACK
        return values if near else None

    def _picture(self, generator: Chain) -> np.ndarray:
        rows = min(_GRID_ROWS, self._batch_size)
        chosen = np.linspace(0, len(self._labels) - 1, rows).astype(int)
        maker = Pixels(generator)
        batches = examples(maker, self._images, self._labels, chosen, self._batch_size)
        captions = [[self._class_names[self._labels[i]]] for i in chosen]
        return grid(*(batch[:rows] for batch in batches), captions)
