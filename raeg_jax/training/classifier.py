"""Trains the classifiers that a run attacks or holds out, once for each workdir.

Cross-entropy with label smoothing, AdamW on a warm-up and cosine schedule, flips and shifted
crops. The result is kept in `workdir/classifiers/<name>` and used again as long as the data and
the settings it comes from are the same. Training that was stopped goes on where it was.
"""

import json
import pathlib
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax import data, networks
from raeg_jax.errors import UserError
from raeg_jax.evaluation.images import open_split
from raeg_jax.files import write_whole
from raeg_jax.networks.layers import MIN_SIDE
from raeg_jax.training import parallel
from raeg_jax.training.classifier_checkpoint import ClassifierCheckpoint
from raeg_jax.training.classifier_step import make_step
from raeg_jax.training.logs import MetricLog
from raeg_jax.training.origin import (
    FOLDER,
    INFO,
    DataOrigin,
    check_same_run,
    classifier_folder,
    info_of,
    origin_of,
)
from raeg_jax.training.preemption import Preemption
from raeg_jax.training.progress import Progress
from raeg_jax.training.state import make_optimizer
from raeg_jax.training.steps import DamagedError, quietly, reading

_WEIGHTS = "variables"
# Accuracy on the training images is measured on at most so many, spread over the classes.
_MEASURED = 5000

Classifiers = dict[str, tuple[nn.Module, Any]]
# From variables, on the host, to scalars for the log.
Watch = Callable[[Any], Mapping[str, float]]


def ensure_classifiers(
    config: ConfigDict, splits: data.Splits, workdir: pathlib.Path
) -> Classifiers | None:
    """Loads the targets and held-out classifiers of a run; trains those that the workdir lacks.

    Call `check_same_run` before: what the workdir has of other data or settings is replaced.

    Returns:
      (module, variables) by name, targets first; None if a signal stopped the training of one,
      which then goes on from there the next time.
    """
    classifiers = {}
    for name in (*config.classifiers.targets, *config.classifiers.held_out):
        try:
            variables = load_classifier(name, splits, config, workdir)
        except DamagedError as error:
            parallel.say(f"note: {error}: it is trained anew")
            variables = None
        if variables is None:
            variables = fit_classifier(name, splits, config, workdir)
        if variables is None:
            return None
        classifiers[name] = networks.classifier(name, splits.num_classes), variables
    return classifiers


def load_classifiers(
    config: ConfigDict, splits: data.Splits | DataOrigin, workdir: pathlib.Path
) -> Classifiers:
    """As `ensure_classifiers`, but never trains.

    Args:
      config: the whole configuration.
      splits: the data set, or what `trained_on` knows of it.
      workdir: folder of the run.

    Raises:
      UserError: the workdir lacks one, or has one that is damaged or of other data or settings.
    """
    classifiers = {}
    for name in (*config.classifiers.targets, *config.classifiers.held_out):
        try:
            variables = load_classifier(name, splits, config, workdir)
        except DamagedError as error:
            raise UserError(
                f"{error}: train.py with the same --config and --workdir trains it anew"
            ) from error
        if variables is None:
            lack = (
                f"{pathlib.Path(workdir) / FOLDER} has no classifier {name!r} for these data and "
                "settings"
            )
            try:
                check_same_run(config, splits, workdir, name)
            except UserError as error:
                raise UserError(f"{lack}: {error}") from error
            raise UserError(
                f"{lack}: evaluate with the config of the training run, or run train.py first"
            )
        classifiers[name] = networks.classifier(name, splits.num_classes), variables
    return classifiers


def clean_accuracies(names: tuple[str, ...], workdir: pathlib.Path) -> dict[str, dict[str, float]]:
    """Accuracies on clean images by name: {'train': share, 'test': share}, as when trained."""
    infos = {name: classifier_folder(workdir, name) / INFO for name in names}
    return {name: json.loads(path.read_text())["accuracy"] for name, path in infos.items()}


def trained_on(name: str, workdir: pathlib.Path) -> DataOrigin:
    """The data that a classifier of a workdir was trained on.

    Raises:
      UserError: the workdir has no such classifier.
    """
    origin = info_of(classifier_folder(workdir, name)).get("origin")
    if origin is None:
        raise UserError(
            f"{pathlib.Path(workdir) / FOLDER} has no classifier {name!r}: run train.py first, or "
            "choose the workdir of a run"
        )
    return DataOrigin(origin["data"], tuple(origin["classes"]))


def load_classifier(
    name: str, splits: data.Splits | DataOrigin, config: ConfigDict, workdir: pathlib.Path
) -> Any | None:
    """Variables of a classifier that was trained before on the same data and settings, or None.

    Raises:
      DamagedError: it was, but its files can't be read.
    """
    origin = info_of(classifier_folder(workdir, name)).get("origin")
    if origin is None or origin != origin_of(name, splits, config):
        return None
    return read_variables(name, splits.num_classes, workdir)


def read_variables(name: str, num_classes: int, workdir: pathlib.Path) -> Any:
    """Variables of a classifier of a workdir, whatever it was trained on.

    Raises:
      UserError: the workdir has no such classifier.
      DamagedError: its files can't be read.
    """
    trained_on(name, workdir)
    folder, module = classifier_folder(workdir, name), networks.classifier(name, num_classes)
    images = jnp.zeros((1, MIN_SIDE, MIN_SIDE, 3))
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), images, train=False))
    # To the host: the weights go wherever they are used.
    target = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    with (
        reading(f"the classifier {folder}"),
        ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer,
    ):
        variables = checkpointer.restore(folder / _WEIGHTS, args=ocp.args.StandardRestore(target))
    return jax.tree.map(jnp.asarray, variables)


def fit_classifier(
    name: str,
    splits: data.Splits,
    config: ConfigDict,
    workdir: pathlib.Path,
    watch: Watch | None = None,
    start: Any | None = None,
) -> Any | None:
    """Trains a classifier, saves it, and measures it on clean images.

    Training goes on where it was stopped, if it was: bit for bit on CPU.

    Args:
      name: key of `networks.CLASSIFIERS`.
      splits: the data set.
      config: the whole configuration.
      workdir: folder of the run.
      watch: called every `config.train.eval_every` steps and after the last; what it returns goes
        to the classifier's log.
      start: variables to begin with, such as those of another image size; drawn by default.

    Returns:
      Its variables, `params` and `batch_stats`, on this process's first device; None if a signal
      (SIGTERM or Ctrl-C) stopped the training, with a checkpoint saved.

    Raises:
      UserError: the loss is not finite, or the batch is larger than the data set.
    """
    module = networks.classifier(name, splits.num_classes)
    folder, origin = classifier_folder(workdir, name), origin_of(name, splits, config)
    with ClassifierCheckpoint(folder, origin) as checkpoint:
        step, state, signal = _train(name, module, splits, config, folder, checkpoint, watch, start)
        if signal:
            parallel.say(
                f"stopped by {signal} after step {step} of {config.classifiers.steps} of "
                f"classifier {name}; all is saved in {workdir}: the same command goes on from there"
            )
            return None
        state.pop("opt_state")
        on_host = jax.device_get(state)
        _save_weights(folder, on_host)
        variables = jax.tree.map(jnp.asarray, on_host)
        accuracy = _clean_accuracy(module, variables, splits, config)
        _save_info(folder, {"origin": origin, "accuracy": accuracy})
        checkpoint.remove()
    if parallel.is_main_process():
        print(
            f"{name}: accuracy on clean images {accuracy['train']:.3f} (training), "
            f"{accuracy['test']:.3f} (test)"
        )
    return variables


def _train(
    name: str,
    module: nn.Module,
    splits: data.Splits,
    config: ConfigDict,
    folder: pathlib.Path,
    checkpoint: ClassifierCheckpoint,
    watch: Watch | None,
    first: Any | None,
) -> tuple[int, dict[str, Any], str | None]:
    """The loop; returns the steps taken, the state, and the signal that ended it if one did."""
    settings, train = config.classifiers, config.train
    optimizer = make_optimizer(
        ConfigDict(
            {
                "name": "adamw",
                "warmup_steps": settings.warmup_steps,
                "weight_decay": settings.weight_decay,
                "clip_norm": 1.0,
            }
        ),
        settings.steps,
        settings.learning_rate,
    )
    # Another order of images and other weights for each classifier.
    seed = zlib.crc32(f"{config.seed} {name}".encode())
    # First of all, as it tells of a batch that is too large.
    batches = data.train_iterator(
        splits.train,
        config.data,
        batch_size=settings.batch_size // jax.process_count(),
        seed=seed,
        augment=config.augment,
        shard_index=jax.process_index(),
        shard_count=jax.process_count(),
        crop=True,
        setting="config.classifiers.batch_size",
    )
    size = config.data.image_size

    def create() -> dict[str, Any]:
        images = jnp.zeros((1, size, size, 3), jnp.float32)
        own = first or module.init(jax.random.key(seed), images, train=False)
        return {**own, "opt_state": optimizer.init(own["params"])}

    start, signal = 0, None
    if restored := checkpoint.restore(jax.eval_shape(create)):
        start, state, position = restored
        batches.set_state(position)
        parallel.say(f"going on with classifier {name} after step {start}")
    else:
        state = jax.jit(create)()
    number, state = start, parallel.replicate(state)
    step = parallel.parallelise(
        make_step(module, optimizer, settings.label_smoothing, settings.adversarial, seed),
        config.parallel,
    )
    progress = Progress(f"training classifier {name}", settings.steps, start, settings.batch_size)
    with MetricLog(folder, start) as log, Preemption() as preemption, progress:
        for number in range(start + 1, settings.steps + 1):
            state, metrics = step(state, {}, next(batches))
            signal = preemption.requested()
            last = number == settings.steps or signal is not None
            to_log = number == settings.steps or number % train.log_every == 0
            to_save = last or number % train.checkpoint_every == 0
            shown = None
            if to_log or to_save:
                shown = _finite(name, number, jax.device_get(metrics))
            if to_log:
                log.scalars(number, shown)
            progress.advance(shown)
            if watch and (number % train.eval_every == 0 or number == settings.steps):
                with progress.pause("looking at the classifier…"):
                    variables = jax.device_get({k: v for k, v in state.items() if k != "opt_state"})
                    log.scalars(number, watch(variables))
            if to_save:
                with progress.pause("saving a checkpoint…"):
                    checkpoint.save(number, state, batches.get_state())
            if signal:
                break
        # One that came while the last step was saved.
        signal = signal or preemption.requested()
    batches.close()
    return number, state, signal


def _finite(name: str, step: int, metrics: Mapping[str, Any]) -> dict[str, float]:
    values = {key: float(value) for key, value in metrics.items()}
    if not np.isfinite(values["loss"]):
        raise UserError(
            f"training classifier {name}: the loss is {values['loss']} at step {step}; lower "
            "config.classifiers.learning_rate"
        )
    return values


def _clean_accuracy(module, variables, splits: data.Splits, config: ConfigDict) -> dict:
    apply = jax.jit(lambda v, x: module.apply(v, x.astype(jnp.float32), train=False).argmax(-1))
    accuracy = {}
    for split, most in (("train", _MEASURED), ("test", 0)):
        images, labels, _ = open_split(getattr(splits, split), config.data, most)
        size, right = config.classifiers.batch_size, 0
        for start in range(0, len(labels), size):
            index = np.arange(start, min(start + size, len(labels)))
            # The last batch is filled up with its first images: one shape, one compilation.
            batch = images[np.resize(index, size)]
            read = np.asarray(apply(variables, batch))[: len(index)]
            right += int(np.sum(read == labels[index]))
        accuracy[split] = right / len(labels)
    return accuracy


def _save_weights(folder: pathlib.Path, variables: Any) -> None:
    """Saves the weights; they count as finished only when `_save_info` follows."""
    if parallel.is_main_process():
        (folder / INFO).unlink(missing_ok=True)
    with quietly(), ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        checkpointer.save(folder / _WEIGHTS, args=ocp.args.StandardSave(variables), force=True)


def _save_info(folder: pathlib.Path, info: Mapping[str, Any]) -> None:
    """Says that the weights beside it are whole, and what they come from."""
    if parallel.is_main_process():
        write_whole(folder / INFO, (json.dumps(info, indent=2) + "\n").encode())
