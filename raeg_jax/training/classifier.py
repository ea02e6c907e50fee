"""Trains the classifiers that a run attacks or holds out, once for each workdir.

Published ones are only given heads, if `config.classifiers.heads` says so.

Cross-entropy with label smoothing, AdamW on a warm-up and cosine schedule, flips and shifted
crops. The result is saved in `workdir/classifiers/<name>` and used again as long as the data and
the settings that it depends on are the same. Training that was stopped resumes.
"""

import pathlib
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax import data
from raeg_jax.data.memory import open_split
from raeg_jax.evaluation import programs
from raeg_jax.evaluation.programs import batches
from raeg_jax.networks import classifiers as classifiers_lib
from raeg_jax.networks.classifiers import FrozenClassifier
from raeg_jax.networks.weights import is_published, load_weights
from raeg_jax.training import parallel
from raeg_jax.training.classifier_step import make_classifier_step
from raeg_jax.training.linear_head import features_of, fit_linear, with_head
from raeg_jax.training.loop import Loop
from raeg_jax.training.optimizers import classifier_optimizer
from raeg_jax.workdir import published
from raeg_jax.workdir.checkpoint_folder import DamagedError
from raeg_jax.workdir.classifiers import (
    Classifiers,
    load_classifier,
    load_published,
    network_of,
    remember_published,
    save_info,
    save_weights,
)
from raeg_jax.workdir.origin import classifier_folder, origin_of
from raeg_jax.workdir.processes import from_main, is_main_process, replicate, say
from raeg_jax.workdir.unfinished import UnfinishedCheckpoint

# Accuracy on the training images is measured on at most so many, spread over the classes.
_MEASURED = 5000

# From variables, on the host, to scalars for the log.
Watch = Callable[[Any], Mapping[str, float]]


def ensure_classifiers(
    config: ConfigDict, splits: data.Splits, workdir: pathlib.Path
) -> Classifiers | None:
    """Loads the targets and held-out classifiers of a run; trains those that the workdir lacks.

    Published ones are never trained: with `config.classifiers.heads` they are given heads. Call
    `check_same_run` before: classifiers of other data or settings are replaced.

    Returns:
      (module, variables) by name, targets first; None if a signal stopped the training of one,
      which then resumes the next time.
    """
    classifiers = {}
    for name in (*config.classifiers.targets, *config.classifiers.held_out):
        if is_published(name) and not config.classifiers.heads:
            classifiers[name] = load_published(name, splits, config, workdir)
            continue
        try:
            variables = load_classifier(name, splits, config, workdir)
        except DamagedError as error:
            say(f"note: {error}: it is trained again")
            variables = None
        if variables is None:
            fit = fit_head if is_published(name) else fit_classifier
            variables = fit(name, splits, config, workdir)
        if variables is None:
            return None
        classifiers[name] = network_of(name, splits, config), variables
    remember_published(config, splits, workdir)
    return classifiers


def fit_classifier(
    name: str,
    splits: data.Splits,
    config: ConfigDict,
    workdir: pathlib.Path,
    watch: Watch | None = None,
    start: Any | None = None,
    module: nn.Module | None = None,
) -> Any | None:
    """Trains a classifier, saves it, and measures it on clean images unless `watch` does.

    Training that was stopped resumes: bit for bit on CPU.

    Args:
      name: key of `networks.CLASSIFIERS`, or any other name of `module`.
      splits: the data set.
      config: the whole configuration.
      workdir: folder of the run.
      watch: called every `config.train.eval_every` steps and after the last; the scalars that it
        returns go to the classifier's log.
      start: variables to begin with, such as those of another image size; drawn by default.
      module: the network; by default that of the name.

    Returns:
      Its variables, `params` and `batch_stats`, on this process's first device; None if a signal
      (SIGTERM or Ctrl-C) stopped the training, with a checkpoint saved.

    Raises:
      UserError: the loss is not finite, or the batch is larger than the data set.
    """
    module = module or classifiers_lib.build_classifier(name, splits.num_classes)
    folder, origin = classifier_folder(workdir, name), origin_of(name, splits, config)
    with UnfinishedCheckpoint(folder, origin) as checkpoint:
        state, loop = _train(name, module, splits, config, folder, checkpoint, watch, start)
        if loop.signal:
            say(
                f"stopped by {loop.signal} after step {loop.step} of {config.classifiers.steps} of "
                f"classifier {name}; all is saved in {workdir}: the same command resumes"
            )
            return None
        on_host = jax.device_get(_variables(state))
        measured = None if watch else module
        variables = _save(name, measured, on_host, splits, config, workdir)
        checkpoint.remove()
    return variables


def fit_head(name: str, splits: data.Splits, config: ConfigDict, workdir: pathlib.Path) -> Any:
    """Fits a head to a published network, saves the whole, and measures it on clean images.

    The head is fitted to the features of all training images (`linear_head.fit_linear`) and, with
    `config.augment.flip`, of their mirror images.

    Args:
      name: of the file of weights.
      splits: the data set.
      config: the whole configuration.
      workdir: folder of the run.

    Returns:
      Variables of `network_of`.

    Raises:
      UserError: there is no such file, or not one of ours.
    """
    network, variables = load_weights(published.weights_path(config, name))
    seeing = network.with_head(network.num_classes, config.classifiers.heads).module
    images, labels, _ = data.arrays(splits.train, config.data)
    views = [images, images[:, :, ::-1]] if config.augment.flip else [images]
    frozen = FrozenClassifier(seeing, variables)
    x = np.concatenate([features_of(frozen, view, config.eval.batch_size) for view in views])
    # Other processors may round it otherwise.
    head = from_main(fit_linear(x, np.tile(labels, len(views)), splits.num_classes))
    on_host = jax.device_get(with_head(variables, *head))
    module = network_of(name, splits, config)
    return _save(name, module, on_host, splits, config, workdir)


def _save(
    name: str,
    module: nn.Module | None,
    on_host: Any,
    splits: data.Splits,
    config: ConfigDict,
    workdir: pathlib.Path,
) -> Any:
    """Saves a classifier, measured unless `module` is None; its variables, on the first device."""
    folder, origin = classifier_folder(workdir, name), origin_of(name, splits, config)
    save_weights(folder, on_host)
    variables = jax.tree.map(jnp.asarray, on_host)
    accuracy = _clean_accuracy(module, variables, splits, config) if module else {}
    save_info(folder, {"origin": origin, "accuracy": accuracy})
    if accuracy and is_main_process():
        print(
            f"{name}: accuracy on clean images {accuracy['train']:.3f} (training), "
            f"{accuracy['test']:.3f} (test)"
        )
    return variables


def _variables(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != "opt_state"}


def _train(
    name: str,
    module: nn.Module,
    splits: data.Splits,
    config: ConfigDict,
    folder: pathlib.Path,
    checkpoint: UnfinishedCheckpoint,
    watch: Watch | None,
    first: Any | None,
) -> tuple[dict[str, Any], Loop]:
    """Takes the steps; returns the last state and the loop, which knows step and signal."""
    settings, train = config.classifiers, config.train
    optimizer = classifier_optimizer(settings, settings.steps)
    # Another order of images and other weights for each classifier.
    seed = zlib.crc32(f"{config.seed} {name}".encode())
    # First of all, as it stops at a batch that is too large.
    stream = parallel.host_batches(config, splits.train, "classifiers", seed, crop=True)
    size = config.data.image_size

    def create() -> dict[str, Any]:
        images = jnp.zeros((1, size, size, 3), jnp.float32)
        variables = first or module.init(jax.random.key(seed), images, train=False)
        return {**variables, "opt_state": optimizer.init(variables["params"])}

    start = 0
    if restored := checkpoint.restore(jax.eval_shape(create)):
        start, state, position = restored
        stream.set_state(position)
        say(f"resuming classifier {name} after step {start}")
    else:
        state = jax.jit(create)()
    state = replicate(state)
    step_fn = parallel.ParallelStep(
        make_classifier_step(
            module, optimizer, settings.label_smoothing, settings.adversarial, seed
        ),
        config.parallel,
    )
    with Loop(
        f"training classifier {name}", folder, start, config, "classifiers",
        lambda: "lower config.classifiers.learning_rate",
    ) as loop:  # fmt: skip
        for step in loop:
            state, metrics = step_fn(state, {}, next(stream))
            loop.record(metrics)
            if watch and loop.is_due(train.eval_every):
                with loop.pause("measuring the classifier…"):
                    loop.log.scalars(step, watch(jax.device_get(_variables(state))))
            if loop.stopping or loop.is_due(train.checkpoint_every):
                with loop.pause("saving a checkpoint…"):
                    checkpoint.save(step, state, stream.get_state())
    stream.close()
    return state, loop


def _clean_accuracy(
    module: nn.Module, variables: Any, splits: data.Splits, config: ConfigDict
) -> dict[str, float]:
    classifier = {"classifier": FrozenClassifier(module, variables)}
    accuracy = {}
    for split, most in (("train", _MEASURED), ("test", 0)):
        images, labels, _ = open_split(getattr(splits, split), config.data, most)
        correct = 0
        for _, x, y, count in batches(images, labels, config.classifiers.batch_size):
            predicted = np.asarray(programs.classify(classifier, x)["classifier"])
            correct += int(np.sum((predicted == y)[:count]))
        accuracy[split] = correct / len(labels)
    return accuracy
