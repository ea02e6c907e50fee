"""Evaluates what a training run left in its workdir; nothing is trained."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from raeg_jax import data
from raeg_jax.errors import UserError
from raeg_jax.evaluation.evaluate import run
from raeg_jax.invertible.generator import generator_from_config
from raeg_jax.training import checkpoint as checkpoint_lib
from raeg_jax.training.classifier import load_classifiers
from raeg_jax.validation import validate


def evaluate_workdir(
    config: ConfigDict, workdir: str | pathlib.Path, checkpoint: str = "latest"
) -> dict[str, Any]:
    """Loads generator and classifiers of a run, measures them, prints and writes the results.

    Args:
      config: the configuration of the training run; `config.eval` may differ.
      workdir: folder of the run.
      checkpoint: 'latest' (as the end of training evaluates), 'best' or a step.

    Returns:
      What `results.json` holds, see `evaluate.run`.

    Raises:
      UserError: the workdir, its checkpoint or a classifier is missing or of another config.
    """
    workdir = pathlib.Path(workdir)
    _validate(config)
    if not (workdir / checkpoint_lib.FOLDER).is_dir():
        raise UserError(
            f"no run to evaluate in {workdir.absolute()}: train.py with the same --config and "
            "--workdir makes one"
        )
    with checkpoint_lib.Checkpoints(workdir, config.train, writable=False) as checkpoints:
        # Before the data are loaded: a wrong name or network is told at once.
        step = checkpoints.resolve(checkpoint)
        generator = generator_from_config(config.generator)
        params = checkpoints.restore_ema(_shapes(generator, config), step)
    splits = data.load(config.data)
    classifiers = load_classifiers(config, splits, workdir)
    return run(config, workdir, splits, generator, params, classifiers, step=step)


def _validate(config: ConfigDict) -> None:
    """As for training, but any number of devices will do: evaluation uses one."""
    config = config.copy_and_resolve_references()
    for part in (config.train, config.classifiers):
        part.batch_size = jax.device_count()
    validate(config)


def _shapes(generator, config: ConfigDict) -> Any:
    size = config.data.image_size
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return jax.eval_shape(generator.init, jax.random.key(0), images)["params"]
