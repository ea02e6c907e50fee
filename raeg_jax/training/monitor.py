"""Evaluates the generator during training: numbers and a picture of some test images."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax import data, evaluation
from raeg_jax.evaluation import programs
from raeg_jax.evaluation.grid import grid
from raeg_jax.evaluation.protectors import PixelProtector
from raeg_jax.evaluation.split import examples
from raeg_jax.generator.chain import Chain, LearnedStage
from raeg_jax.networks.classifiers import FrozenClassifier
from raeg_jax.training.logs import MetricLog

# Decibels below the target PSNR at which a checkpoint may still become the best.
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

    def evaluate(self, step: int, params: Any, log: MetricLog) -> dict[str, float] | None:
        """Logs scalars 'eval/...' and a picture.

        Args:
          step: of the parameters.
          params: of the generator, on any number of devices.
          log: of the run.

        Returns:
          The scalars, if the checkpoint of this step may become the best one; None while images are
          far from the target PSNR, as early in training, when attacks are easy.
        """
        generator = programs.on_one_device(Chain((LearnedStage(self._generator, params),)))
        values = evaluation.quick(
            generator, self._targets, self._images, self._labels, batch_size=self._batch_size
        )
        log.scalars(step, {f"eval/{name}": value for name, value in values.items()})
        if self._config.train.image_grids:
            log.images(
                step, "eval/original_protected_difference_recovered", self._picture(generator)
            )
        is_near = values["psnr"] >= self._config.loss.target_psnr - _SLACK
        return values if is_near else None

    def _picture(self, generator: Chain) -> np.ndarray:
        rows = min(_GRID_ROWS, self._batch_size)
        chosen = np.linspace(0, len(self._labels) - 1, rows).astype(int)
        maker = PixelProtector(generator)
        original, protected, recovered = (
            batch[:rows]
            for batch in examples(maker, self._images, self._labels, chosen, self._batch_size)
        )
        captions = [[self._class_names[self._labels[i]]] for i in chosen]
        return grid(original, protected, recovered, captions)
