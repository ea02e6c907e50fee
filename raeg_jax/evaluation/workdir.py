"""Evaluates what a training run left in its workdir; nothing is trained."""

import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from raeg_jax import data
from raeg_jax.assembly import assemble, check_targets
from raeg_jax.config import run_config
from raeg_jax.errors import UserError
from raeg_jax.evaluation.evaluate import run
from raeg_jax.invertible.generator import generator_from_config
from raeg_jax.training import checkpoint as checkpoint_lib
from raeg_jax.training import classifier as classifier_lib
from raeg_jax.training import parallel

# What the numbers depend on, beside the checkpoint itself.
_MEASURED = ("seed", "data", "generator", "classifiers")


class Opened(NamedTuple):
    """What a training run left.

    Attributes:
      config: of the run, with the settings that only evaluation uses as asked for.
      params: averaged parameters of the learned stage, and the `step` they come from; None without.
      step: see there.
      splits: the data set.
      classifiers: (module, variables) by name.
    """

    config: ConfigDict
    params: Any
    step: int | None
    splits: data.Splits
    classifiers: classifier_lib.Classifiers


def evaluate_workdir(
    config: ConfigDict, workdir: str | pathlib.Path, checkpoint: str = "latest"
) -> dict[str, Any]:
    """Loads generator and classifiers of a run, measures them, prints and writes the results.

    The results of the latest checkpoint are in `results.json` and its companions, those of another
    in `results-best.json` or `results-<step>.json`: none takes the place of another's. Results of
    other stages, or other settings of those that aren't trained, are kept under other names, see
    `report`.

    Args:
      config: the configuration of the training run; `config.eval`, where the data lie and the
        held-out classifiers may differ. What neither data nor networks depend on, such as the loss,
        is taken from the checkpoint instead.
      workdir: folder of the run.
      checkpoint: 'latest' (as the end of training evaluates), 'best' or a step.

    Returns:
      What `results.json` holds, see `evaluate.run`.

    Raises:
      UserError: the workdir, its checkpoint or a classifier is missing or of another config.
    """
    if config.multi_host:
        parallel.start_multi_host()
    workdir = pathlib.Path(workdir)
    opened = open_run(config, workdir, checkpoint)
    which = checkpoint if checkpoint in ("latest", "best") else str(opened.step)
    whole = assemble(opened.config, opened.params, opened.classifiers)
    return run(
        opened.config, workdir, opened.splits, whole, opened.classifiers,
        checkpoint=which, step=opened.step,
    )  # fmt: skip


def open_run(config: ConfigDict, workdir: pathlib.Path, checkpoint: str = "latest") -> Opened:
    """Loads what a training run left.

    Args:
      config: as `evaluate_workdir`.
      workdir: folder of the run.
      checkpoint: 'latest', 'best' or a step.

    Raises:
      UserError: as `evaluate_workdir`.
    """
    params = step = None
    if "learned" in config.generator.stages:
        # Before the data are loaded: a wrong name or network is told at once.
        config, params, step = restore(config, workdir, checkpoint)
    else:
        check_no_checkpoint(config, checkpoint)
    check_targets(config)
    check_classifiers(workdir)
    splits = data.load(config.data)
    classifiers = classifier_lib.load_classifiers(config, splits, workdir)
    return Opened(config, params, step, splits, classifiers)


def check_classifiers(workdir: str | pathlib.Path) -> None:
    """Stops at a workdir that has no classifiers at all, before data are prepared for nothing.

    Raises:
      UserError: naming the workdir and the way out.
    """
    if not (pathlib.Path(workdir) / classifier_lib.FOLDER).is_dir():
        raise UserError(
            f"--workdir={workdir}: no classifiers there; train.py with the same --config and "
            "--workdir trains them"
        )


def restore(
    config: ConfigDict, workdir: pathlib.Path, checkpoint: str = "latest"
) -> tuple[ConfigDict, Any, int]:
    """Loads the learned stage of a run.

    Args:
      config: as `evaluate_workdir`.
      workdir: folder of the run.
      checkpoint: 'latest', 'best' or a step.

    Returns:
      The settings that made the checkpoint, whatever the flags say, with those of `config` that
      only evaluation uses; the averaged parameters; the step that they come from.

    Raises:
      UserError: the workdir has no such checkpoint, or one of another config.
    """
    if not (workdir / checkpoint_lib.FOLDER).is_dir():
        raise UserError(
            f"no run to evaluate in {workdir.absolute()}: train.py with the same --config and "
            "--workdir makes one"
        )
    with checkpoint_lib.Checkpoints(workdir, config.train, writable=False) as checkpoints:
        return checkpoints.read(checkpoint, lambda step: _restore(config, checkpoints, step))


def _restore(
    config: ConfigDict, checkpoints: checkpoint_lib.Checkpoints, step: int
) -> tuple[ConfigDict, Any, int]:
    saved = checkpoints.meta(step)["config"]
    _check_same_run(config, saved, checkpoints.workdir)
    trained = run_config.evaluation_config(config, saved)
    trained.classifiers.held_out = config.classifiers.held_out
    generator = generator_from_config(trained.generator)
    params = checkpoints.restore_ema(_shapes(generator, trained), step)
    generator.check(params)
    return trained, params, step


def check_no_checkpoint(config: ConfigDict, checkpoint: str) -> None:
    """Gradient stages alone have no checkpoints, only classifiers.

    Raises:
      UserError: another checkpoint than 'latest', which is the default, is asked for.
    """
    if checkpoint != "latest":
        raise UserError(
            f"--checkpoint={checkpoint}: config.generator.stages={tuple(config.generator.stages)} "
            "are not trained and have no checkpoints; leave the flag out"
        )


def _check_same_run(config: ConfigDict, saved: dict[str, Any], workdir: pathlib.Path) -> None:
    """Stops if a setting is not what the checkpoint was trained with, and numbers depend on it.

    Parameters of other networks may well have the same shapes. Classifiers may be left out or
    added among those held out: what the workdir lacks is named when they are loaded.
    """
    changes, _ = run_config.classify_changes(saved, config)
    changes = {
        name: pair
        for name, pair in changes.items()
        if name.split(".")[0] in _MEASURED and name != "classifiers.held_out"
    }
    if changes:
        raise UserError(
            f"the checkpoint was trained with other settings: {run_config.describe(changes)}. "
            f"Evaluate it with those, saved in {workdir / run_config.FILE}."
        )


def _shapes(generator, config: ConfigDict) -> Any:
    size = config.data.image_size
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return jax.eval_shape(generator.init, jax.random.key(0), images)["params"]
