"""Trains what a run needs: classifiers, learned patterns, the learned stage of its generator."""

import contextlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax import data, evaluation
from raeg_jax.config import run_config
from raeg_jax.errors import UserError
from raeg_jax.evaluation import programs
from raeg_jax.evaluation.grid import grid
from raeg_jax.evaluation.protectors import PixelProtector
from raeg_jax.evaluation.split import examples
from raeg_jax.generator.build import has_patterns
from raeg_jax.generator.chain import Chain, LearnedStage
from raeg_jax.generator.unet import unet_from_config
from raeg_jax.networks.classifiers import FrozenClassifier
from raeg_jax.networks.discriminator import Discriminator
from raeg_jax.training import parallel
from raeg_jax.training.classifier import ensure_classifiers
from raeg_jax.training.logs import MetricLog
from raeg_jax.training.loop import DivergedError, Loop
from raeg_jax.training.optimizers import create_state
from raeg_jax.training.patterns import ensure_patterns
from raeg_jax.training.step import frozen_of, make_train_step
from raeg_jax.training.surrogates import Surrogates
from raeg_jax.workdir.checkpoint import FOLDER, Checkpoints, TrainState
from raeg_jax.workdir.classifiers import Classifiers, clean_accuracies
from raeg_jax.workdir.origin import (
    check_resumable,
    check_same_images,
    check_same_run,
    check_same_settings,
)
from raeg_jax.workdir.patterns import check_same_patterns
from raeg_jax.workdir.processes import is_main_process, replicate, say
from raeg_jax.workdir.run import Run

_SHOWN = ("loss/total", "loss/adversary", "psnr", "attack_success")
# Decibels below the target PSNR at which a checkpoint may still become the best.
_SLACK = 1.0
_GRID_ROWS = 4
# Training images from whose statistics a generator starts.
_FIRST_IMAGES = 64


def train(
    config: ConfigDict, workdir: pathlib.Path, splits: data.Splits | None = None
) -> Run | None:
    """Trains the classifiers and the generator of a run, or resumes a run in the same workdir.

    Call it while the workdir is claimed (`processes.claimed`), with a config that was validated.

    Args:
      config: the whole configuration.
      workdir: folder of the run, absolute; everything is written there.
      splits: the data set of `config.data`, if it is loaded already.

    Returns:
      The run, with the averaged parameters of the last step; None if a signal (SIGTERM or Ctrl-C)
      stopped the training, with a checkpoint saved.

    Raises:
      UserError: missing data, a workdir of another run, a loss that is not finite.
    """
    if "learned" in config.generator.stages:
        return _train_learned(config, workdir, splits)
    return _train_classifiers(config, workdir, splits)


def _train_classifiers(
    config: ConfigDict, workdir: pathlib.Path, splits: data.Splits | None
) -> Run | None:
    """Stages other than the learned one need trained classifiers, and some learned patterns."""
    trained = (workdir / FOLDER).is_dir()
    if trained:
        # Their classifiers must not be replaced: the checkpoints were fitted against them.
        with Checkpoints(workdir, config.train, writable=False) as checkpoints:
            check_same_settings(config, checkpoints)
    splits = splits or data.load(config.data)
    prepared = _prepare(config, splits, workdir, save_config=not trained)
    return Run(config, None, None, splits, *prepared) if prepared else None


def _prepare(
    config: ConfigDict, splits: data.Splits, workdir: pathlib.Path, save_config: bool = True
) -> tuple[Classifiers, np.ndarray | None] | None:
    """Makes the workdir this run's, then loads or trains its classifiers and learned patterns.

    Returns:
      These, the patterns None where the generator has none; None after a signal.
    """
    learns_patterns = has_patterns(config.generator)
    check_same_run(config, splits, workdir)
    if learns_patterns:
        check_same_patterns(config, splits, workdir)
    if is_main_process() and save_config:
        run_config.save(config, workdir / run_config.FILE)
    classifiers = ensure_classifiers(config, splits, workdir)
    if classifiers is None:
        return None
    if not learns_patterns:
        return classifiers, None
    patterns = ensure_patterns(config, splits, workdir)
    return None if patterns is None else (classifiers, patterns)


def _train_learned(
    config: ConfigDict, workdir: pathlib.Path, splits: data.Splits | None
) -> Run | None:
    generator = unet_from_config(config.generator, config.train.memory)
    weight = config.loss.weight
    discriminator = Discriminator(**config.discriminator) if weight.gan else None
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(Checkpoints(workdir, config.train))
        check_resumable(config, checkpoints)
        splits = splits or data.load(config.data)
        # Before the classifiers: an error here should not cost hours, nor overwrite anything.
        batches = parallel.host_batches(config, splits.train, "train", config.seed, crop=False)
        stack.callback(batches.close)
        key = jax.random.key(config.seed)
        surrogates = Surrogates(config, splits.num_classes) if weight.poison else None

        def create(key, images=None):
            learners = surrogates.create() if surrogates else ()
            return create_state(config, generator, discriminator, key, images, learners)

        if checkpoints.steps():
            shapes = jax.eval_shape(create, key)
            state, position = checkpoints.restore(shapes)
            check_same_images(position["data"], splits)
            batches.set_state(position)
            say(f"resuming after step {int(state.step)}")
        else:
            # The same images on every host.
            images, _, _ = data.arrays(splits.train, config.data, _FIRST_IMAGES)
            state = replicate(create(key, images))
        prepared = _prepare(config, splits, workdir)
        if prepared is None:
            return None
        classifiers, patterns = prepared
        state, signal = _fit(
            config, workdir, splits, classifiers, generator, discriminator, surrogates, state,
            batches, checkpoints,
        )  # fmt: skip
    step = int(state.step)
    if signal and step < config.train.steps:
        say(
            f"stopped by {signal} after step {step} of {config.train.steps}; all is saved in "
            f"{workdir}: the same command resumes"
        )
        return None
    # Weights that can't be exact are an error now, not when the generator is exported.
    try:
        generator.check(state.ema)
    except UserError as error:
        raise DivergedError(str(error)) from error
    return Run(config, state.ema, step, splits, classifiers, patterns)


def _fit(
    config: ConfigDict,
    workdir: pathlib.Path,
    splits: data.Splits,
    classifiers: Classifiers,
    generator: nn.Module,
    discriminator: nn.Module | None,
    surrogates: Surrogates | None,
    state: TrainState,
    batches: data.TrainIterator,
    checkpoints: Checkpoints,
) -> tuple[TrainState, str | None]:
    """Takes the steps; returns the last state, and the signal that came meanwhile if one did."""
    settings, start = config.train, int(state.step)
    if start >= settings.steps:
        return state, None
    targets = {name: classifiers[name] for name in config.classifiers.targets}
    modules = {name: net for name, (net, _) in targets.items()}
    step_fn = parallel.ParallelStep(
        make_train_step(config, generator, discriminator, modules, surrogates), config.parallel
    )
    frozen = replicate(frozen_of(config, targets))
    monitor = Monitor(config, splits, generator, targets)

    def advice() -> str:
        steps = checkpoints.steps()
        saved = f"the checkpoint of step {steps[-1]} is saved" if steps else "none was saved yet"
        return (
            f"{saved}. Lower config.optimizer.learning_rate or config.optimizer.clip_norm, or the "
            "weight of that term"
        )

    with Loop("training the generator", workdir, start, config, "train", advice) as loop:
        weights = {f"weight/{name}": value for name, value in config.loss.weight.items()}
        clean = {} if start else _flat(clean_accuracies(tuple(classifiers), workdir))
        loop.log.changed(start, weights | clean)
        for step in loop:
            if surrogates:
                state = state.replace(surrogates=surrogates.renew(state.surrogates, step))
            state, metrics = step_fn(state, frozen, next(batches))
            if step_fn.memory is not None:
                metrics["memory_mib"] = step_fn.memory / 2**20
            loop.record(metrics, _SHOWN, with_rate=True)
            to_evaluate, candidate = loop.is_due(settings.eval_every), None
            if to_evaluate:
                with loop.pause("evaluating the generator…"):
                    candidate = monitor.evaluate(step, state.ema, loop.log)
            if to_evaluate or loop.stopping or loop.is_due(settings.checkpoint_every):
                with loop.pause("saving a checkpoint…"):
                    position = batches.get_state() | {"data": splits.fingerprint}
                    checkpoints.save(state, position, config, candidate)
    return state, loop.signal


def _flat(accuracies: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {
        f"classifier/{name}/{split}_accuracy": accuracy
        for name, splits in accuracies.items()
        for split, accuracy in splits.items()
    }


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
            splits.test, config.data, config.train.eval_images
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
        maker = PixelProtector(generator, tuple(self._targets.values()))
        original, protected, recovered = (
            batch[:rows]
            for batch in examples(maker, self._images, self._labels, chosen, self._batch_size)
        )
        captions = [[self._class_names[self._labels[i]]] for i in chosen]
        return grid(original, protected, recovered, captions)
