"""What a training run left in its workdir: opened for measuring, or as a generator file's content.

Nothing here trains, measures, or validates a config: entry points do, with `config.validate`.
"""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from raeg_jax import data
from raeg_jax.config import run_config
from raeg_jax.errors import UserError
from raeg_jax.generator.build import build_generator, check_targets, needs_labels
from raeg_jax.generator.chain import Chain
from raeg_jax.generator.unet import unet_from_config
from raeg_jax.networks import imagenet
from raeg_jax.networks.weights import is_published
from raeg_jax.protection.loaded_generator import LoadedGenerator
from raeg_jax.workdir import published
from raeg_jax.workdir.checkpoint import FOLDER, Checkpoints
from raeg_jax.workdir.classifiers import (
    Classifiers,
    check_classifiers,
    load_classifiers,
    remember_published,
    remembered,
    trained_on,
)
from raeg_jax.workdir.patterns import load_patterns

# Settings that results depend on, beside the checkpoint itself.
_MEASURED = ("seed", "data", "generator", "classifiers")


class Run(NamedTuple):
    """A run whose training is finished, or has come to a checkpoint.

    Attributes:
      config: of the run, with the settings that only evaluation uses as asked for.
      params: averaged parameters of the learned stage; None without such a stage.
      step: the training step that `params` come from; None without a learned stage.
      splits: the data set.
      classifiers: (module, variables) by name.
      patterns: learned ones of a shortcut stage, int8; None where the generator has none.
    """

    config: ConfigDict
    params: Any
    step: int | None
    splits: data.Splits
    classifiers: Classifiers
    patterns: np.ndarray | None = None

    @property
    def generator(self) -> Chain:
        """The generator of all stages, built anew."""
        return build_generator(self.config, self.params, self.classifiers, self.patterns)


def open_run(config: ConfigDict, workdir: pathlib.Path, checkpoint: str = "latest") -> Run:
    """Loads what a training run left.

    Args:
      config: the configuration of the training run; `config.eval`, the place of the data and the
        held-out classifiers may differ. Settings on which neither data nor networks depend, such as
        the loss, are taken from the checkpoint instead.
      workdir: folder of the run.
      checkpoint: 'latest' (which the end of training evaluates), 'best' or a step.

    Raises:
      UserError: the workdir, its checkpoint, a classifier or the learned patterns are missing or
        of another config.
    """
    # Before the data are loaded, which may take long: a wrong name or network.
    config, params, step = _restore_stages(config, workdir, checkpoint)
    check_targets(config)
    check_classifiers(workdir)
    splits = data.load(config.data)
    classifiers = load_classifiers(config, splits, workdir)
    remember_published(config, splits, workdir)
    patterns = load_patterns(config, splits, workdir)
    return Run(config, params, step, splits, classifiers, patterns)


def generator_from_workdir(
    config: ConfigDict,
    workdir: str | pathlib.Path,
    checkpoint: str = "latest",
    others: Sequence[str] = (),
) -> LoadedGenerator:
    """Takes the generator out of a workdir; needs no data.

    Args:
      config: the configuration of the training run, in which stages and settings of untrained
        stages may differ.
      workdir: folder of the run.
      checkpoint: 'latest', 'best' or a step, of the learned stage.
      others: classifiers to add to those that the stages need, for `raeg verify`.

    Raises:
      UserError: the workdir, its checkpoint, a classifier or the learned patterns are missing or
        of another config.
    """
    workdir = pathlib.Path(workdir)
    config, params, _ = _restore_stages(config, workdir, checkpoint)
    if params is not None:
        # From all devices to one, as the classifiers are.
        params = jax.tree.map(jnp.asarray, jax.device_get(params))
    check_targets(config)
    check_classifiers(workdir)
    targets = tuple(config.classifiers.targets)
    # Every run has classifiers, and they know the classes of its data.
    origin = trained_on(targets[0], workdir)
    _check_same_classes(targets[0], others, config)
    wanted = config.copy_and_resolve_references()
    # For gradients, or the predicted class of unlabelled images.
    wanted.classifiers.targets = targets if needs_labels(config.generator) else ()
    wanted.classifiers.held_out = tuple(
        name for name in others if name not in wanted.classifiers.targets
    )
    classifiers = load_classifiers(wanted, origin, workdir)
    networks = {
        name: published.with_head(config, name, origin.num_classes)
        if config.classifiers.heads
        else published.describe(config, name)
        for name in classifiers
        if is_published(name)
    }
    class_names = origin.class_names
    if is_published(targets[0]) and not config.classifiers.heads:
        class_names = imagenet.class_names(remembered(targets[0], workdir)["num_classes"])
    patterns = load_patterns(config, origin, workdir)
    return LoadedGenerator(config, class_names, params, classifiers, networks, patterns)


def _check_same_classes(target: str, others: Sequence[str], config: ConfigDict) -> None:
    """Refuses classifiers with other classes than the targets: a generator file names one set."""

    def classes(name: str) -> int | None:
        has_own = is_published(name) and not config.classifiers.heads
        return published.describe(config, name).num_classes if has_own else None

    for name in others:
        if classes(name) != classes(target):
            raise UserError(
                f"--classifier={name}: its classes aren't those of the target {target}, and a "
                "generator file has one set: leave it out, and compare what it reads by `raeg "
                "verify --reader FILE`"
            )


def _restore_stages(
    config: ConfigDict, workdir: pathlib.Path, checkpoint: str
) -> tuple[ConfigDict, Any, int | None]:
    """As `restore`; without a learned stage there is nothing to load."""
    if "learned" in config.generator.stages:
        return restore(config, workdir, checkpoint)
    if checkpoint != "latest":
        raise UserError(
            f"--checkpoint={checkpoint}: config.generator.stages={tuple(config.generator.stages)} "
            "are not trained and have no checkpoints; leave the flag out"
        )
    return config, None, None


def restore(
    config: ConfigDict, workdir: pathlib.Path, checkpoint: str = "latest"
) -> tuple[ConfigDict, Any, int]:
    """Loads the learned stage of a run.

    Args:
      config: as for `open_run`.
      workdir: folder of the run.
      checkpoint: 'latest', 'best' or a step.

    Returns:
      The settings of the checkpoint, with those of `config` that only evaluation uses; the averaged
      parameters; the step that they come from.

    Raises:
      UserError: the workdir has no such checkpoint, or one of another config.
    """
    if not (workdir / FOLDER).is_dir():
        raise UserError(
            f"no run to evaluate in {workdir.absolute()}: train.py with the same --config and "
            "--workdir makes one"
        )
    with Checkpoints(workdir, config.train, writable=False) as checkpoints:
        return checkpoints.read(checkpoint, lambda step: _restore(config, checkpoints, step))


def _restore(
    config: ConfigDict, checkpoints: Checkpoints, step: int
) -> tuple[ConfigDict, Any, int]:
    saved = checkpoints.meta(step)["config"]
    _check_same_run(config, saved, checkpoints.workdir)
    trained = run_config.evaluation_config(config, saved)
    trained.classifiers.held_out = config.classifiers.held_out
    generator = unet_from_config(trained.generator)
    params = checkpoints.restore_ema(_shapes(generator, trained), step)
    generator.check(params)
    return trained, params, step


def _check_same_run(config: ConfigDict, saved: dict[str, Any], workdir: pathlib.Path) -> None:
    """Stops if a setting that results depend on is not that of the checkpoint.

    Parameters of other networks may well have the same shapes. Held-out classifiers may be left out
    or added: those that the workdir lacks are named when they are loaded.
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
