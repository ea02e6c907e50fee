"""The main job from the first to the last line: data, classifiers, generator, evaluation."""

import math
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax import data, evaluation
from raeg_jax.assembly import assemble, check_targets
from raeg_jax.config import run_config
from raeg_jax.errors import UserError
from raeg_jax.invertible.generator import generator_from_config
from raeg_jax.networks.discriminator import Discriminator
from raeg_jax.training import parallel
from raeg_jax.training.checkpoint import FOLDER, Checkpoints
from raeg_jax.training.claim import claimed
from raeg_jax.training.classifier import Classifiers, clean_accuracies, ensure_classifiers
from raeg_jax.training.logs import MetricLog
from raeg_jax.training.monitor import Monitor
from raeg_jax.training.origin import check_same_images, check_same_run
from raeg_jax.training.preemption import Preemption
from raeg_jax.training.progress import Progress
from raeg_jax.training.state import TrainState, create_state
from raeg_jax.training.step import make_train_step

# Between two looks at the losses at most so many steps are on their way.
_LOOK_EVERY = 50
_SHOWN = ("loss/total", "loss/adversary", "psnr", "attack_success")


def train(config: ConfigDict, workdir: pathlib.Path) -> dict[str, Any] | None:
    """Fits a generator and evaluates it; goes on where a run in the same workdir stopped.

    Args:
      config: the whole configuration, validated.
      workdir: folder of the run; everything is written there.

    Returns:
      What `evaluation.run` returns for the generator after the last step; None if a signal
      (SIGTERM or Ctrl-C) stopped the run before, with a checkpoint saved.

    Raises:
      UserError: an impossible setting, missing data, a workdir of another run or in use, a loss
        that is not finite.
    """
    if config.multi_host:
        parallel.start_multi_host()
    parallel.check_devices(config)
    check_targets(config)
    workdir = pathlib.Path(workdir).absolute()
    with claimed(workdir):
        train_stages = _train_learned if "learned" in config.generator.stages else _train_none
        return train_stages(config, workdir)


def _train_none(config: ConfigDict, workdir: pathlib.Path) -> dict[str, Any] | None:
    """Other stages than the learned one need trained classifiers, and nothing else."""
    trained = (workdir / FOLDER).is_dir()
    if trained:
        # Their classifiers must not be replaced: the checkpoints were fitted against them.
        with Checkpoints(workdir, config.train, writable=False) as checkpoints:
            check_same_network(config, checkpoints)
    splits = data.load(config.data)
    check_same_run(config, splits, workdir)
    if parallel.is_main_process() and not trained:
        run_config.save(config, workdir / run_config.FILE)
    classifiers = ensure_classifiers(config, splits, workdir)
    if classifiers is None:  # a signal stopped their training
        return None
    generator = assemble(config, None, classifiers)
    return evaluation.run(config, workdir, splits, generator, classifiers)


def _train_learned(config: ConfigDict, workdir: pathlib.Path) -> dict[str, Any] | None:
    generator = generator_from_config(config.generator)
    discriminator = Discriminator(**config.discriminator) if config.loss.weight.gan else None
    with Checkpoints(workdir, config.train) as checkpoints:
        check_resumable(config, checkpoints)
        splits = data.load(config.data)
        # Before the classifiers: what is wrong here should not cost hours, nor overwrite anything.
        batches = _batches(config, splits)
        key = jax.random.key(config.seed)
        if checkpoints.steps():
            shapes = jax.eval_shape(
                lambda k: create_state(config, generator, discriminator, k), key
            )
            state, position = checkpoints.restore(shapes)
            _continue(batches, position, splits, int(state.step))
        else:
            state = parallel.replicate(create_state(config, generator, discriminator, key))
        check_same_run(config, splits, workdir)
        if parallel.is_main_process():
            run_config.save(config, workdir / run_config.FILE)
        classifiers = ensure_classifiers(config, splits, workdir)
        if classifiers is None:  # a signal stopped their training
            return None
        state, signal = _fit(
            config, workdir, splits, classifiers, generator, discriminator, state, batches,
            checkpoints,
        )  # fmt: skip
    batches.close()
    if signal:
        parallel.say(
            f"stopped by {signal} after step {int(state.step)} of {config.train.steps}; all is "
            f"saved in {workdir}: the same command goes on from there"
        )
        return None
    # Told here, not when the generator is exported.
    generator.check(state.ema)
    whole = assemble(config, state.ema, classifiers)
    return evaluation.run(config, workdir, splits, whole, classifiers, step=int(state.step))


def check_same_network(config: ConfigDict, checkpoints: Checkpoints) -> dict[str, Any]:
    """Stops if the workdir's run had settings that must not change; returns others that did.

    Raises:
      UserError: naming each setting, its old and its new value.
    """
    if not checkpoints.steps():
        return {}
    fixed, adjustable = run_config.classify_changes(checkpoints.meta()["config"], config)
    if fixed:
        raise UserError(
            f"the workdir holds another run: {run_config.describe(fixed)}. Use the same settings "
            "to go on with it, or another --workdir."
        )
    return adjustable


def check_resumable(config: ConfigDict, checkpoints: Checkpoints) -> None:
    """Stops if the workdir's run had settings that must not change; tells of others that did.

    A run that has taken all its steps must not change at all: nothing would be trained with it.

    Raises:
      UserError: naming each setting, its old and its new value.
    """
    if not checkpoints.steps():
        return
    saved, adjustable = checkpoints.meta(), check_same_network(config, checkpoints)
    done = checkpoints.steps()[-1]
    if adjustable and done >= config.train.steps:
        raise UserError(
            f"the run in {checkpoints.workdir} finished at step {done} with other settings: "
            f"{run_config.describe(adjustable)}; raise config.train.steps to go on with the new "
            "ones, or use another --workdir"
        )
    if adjustable:
        parallel.say(f"note: going on with other settings: {run_config.describe(adjustable)}")
    changed = {
        name: (saved["versions"].get(name), version)
        for name, version in run_config.versions().items()
        if saved["versions"].get(name) != version
    }
    if changed:
        rows = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in changed.items())
        parallel.say(f"note: other versions than before, so bits may differ: {rows}")


def _batches(config: ConfigDict, splits: data.Splits) -> data.TrainIterator:
    return data.train_iterator(
        splits.train,
        config.data,
        batch_size=config.train.batch_size // jax.process_count(),
        seed=config.seed,
        augment=config.augment,
        shard_index=jax.process_index(),
        shard_count=jax.process_count(),
        crop=False,
        setting="config.train.batch_size",
    )


def _continue(batches, position: Mapping[str, Any], splits: data.Splits, step: int) -> None:
    check_same_images(position["data"], splits)
    batches.set_state(position)
    parallel.say(f"going on after step {step}")


def _fit(
    config: ConfigDict,
    workdir: pathlib.Path,
    splits: data.Splits,
    classifiers: Classifiers,
    generator: nn.Module,
    discriminator: nn.Module | None,
    state: TrainState,
    batches: data.TrainIterator,
    checkpoints: Checkpoints,
) -> tuple[TrainState, str | None]:
    """The loop; returns the last state, and the signal that ended it early if one did."""
    settings, start = config.train, int(state.step)
    if start >= settings.steps:
        return state, None
    targets = {name: classifiers[name] for name in config.classifiers.targets}
    step_fn = parallel.parallelise(
        make_train_step(
            config, generator, discriminator, {name: net for name, (net, _) in targets.items()}
        ),
        config.parallel,
    )
    frozen = parallel.replicate({name: variables for name, (_, variables) in targets.items()})
    monitor = Monitor(config, splits, generator, targets)
    progress = Progress("training the generator", settings.steps, start, settings.batch_size)
    pending: list[tuple[int, Mapping[str, jax.Array]]] = []
    signal = None
    with MetricLog(workdir, start) as log, Preemption() as preemption, progress:
        weights = {f"weight/{name}": value for name, value in config.loss.weight.items()}
        clean = {} if start else _flat(clean_accuracies(tuple(classifiers), workdir))
        log.changed(start, weights | clean)
        for step in range(start + 1, settings.steps + 1):
            state, metrics = step_fn(state, frozen, next(batches))
            pending.append((step, metrics))
            signal = preemption.requested()
            last = step == settings.steps or signal is not None
            to_log = step == settings.steps or step % settings.log_every == 0
            to_evaluate = step % settings.eval_every == 0 or step == settings.steps
            to_save = last or to_evaluate or step % settings.checkpoint_every == 0
            values = None
            if to_log or to_save or len(pending) >= _LOOK_EVERY:
                values = check_finite(jax.device_get(pending), checkpoints)
                pending.clear()
            progress.advance({name: values[name] for name in _SHOWN} if values else None)
            if to_log:
                log.scalars(step, values | {"images_per_second": progress.images_per_second()})
            candidate = None
            if to_evaluate:
                with progress.pause("evaluating the generator…"):
                    candidate = monitor.look(step, state.ema, log)
            if to_save:
                with progress.pause("saving a checkpoint…"):
                    position = batches.get_state() | {"data": splits.fingerprint}
                    checkpoints.save(state, position, config, candidate)
            if signal:
                break
    return state, signal if int(state.step) < settings.steps else None


def check_finite(
    pending: list[tuple[int, Mapping[str, np.ndarray]]], checkpoints: Checkpoints
) -> dict[str, float]:
    """Returns the last step's metrics as floats, if those of all steps are finite.

    Raises:
      UserError: naming the first step, its terms that are not finite, and what is left.
    """
    for step, metrics in pending:
        values = {name: float(value) for name, value in metrics.items()}
        # The total is infinite because of a term, and the gradient because of the total.
        order = sorted(values, key=lambda name: (not name.startswith("loss/"), "total" in name))
        if bad := [name for name in order if not math.isfinite(values[name])]:
            steps = checkpoints.steps()
            kept = f"the checkpoint of step {steps[-1]} is kept" if steps else "none was saved yet"
            raise UserError(
                f"{bad[0]} is {values[bad[0]]} at step {step}, so the run stops; {kept}. Lower "
                "config.optimizer.learning_rate or config.optimizer.clip_norm, or the weight of "
                f"that term; not finite are: {', '.join(bad)}"
            )
    return values


def _flat(accuracies: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {
        f"classifier/{name}/{split}_accuracy": accuracy
        for name, splits in accuracies.items()
        for split, accuracy in splits.items()
    }
