"""The classifiers of a workdir, in `classifiers/<name>`: saved once, then loaded.

Of published ones only where they come from is saved, see `published`; with heads that the run has
fitted, whole networks.
While one is trained, checkpoints in its folder `unfinished` let the training resume.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax import data
from raeg_jax.errors import UserError
from raeg_jax.files import write_whole
from raeg_jax.networks import classifiers as classifiers_lib
from raeg_jax.networks.layers import variable_shapes
from raeg_jax.networks.weights import is_published
from raeg_jax.workdir import published
from raeg_jax.workdir.checkpoint_folder import DamagedError, quietly, reading
from raeg_jax.workdir.origin import (
    FOLDER,
    INFO,
    DataOrigin,
    check_same_run,
    classifier_folder,
    info_of,
    origin_of,
)
from raeg_jax.workdir.processes import is_main_process

_WEIGHTS = "variables"

# (module, variables) by name.
Classifiers = dict[str, tuple[nn.Module, Any]]


def check_classifiers(workdir: str | pathlib.Path) -> None:
    """Stops at a workdir without any classifiers, before data are prepared for nothing.

    Raises:
      UserError: naming the workdir and the way out.
    """
    if not (pathlib.Path(workdir) / FOLDER).is_dir():
        raise UserError(
            f"--workdir={workdir}: no classifiers there; train.py with the same --config and "
            "--workdir trains them"
        )


def load_classifiers(
    config: ConfigDict, splits: data.Splits | DataOrigin, workdir: pathlib.Path
) -> Classifiers:
    """Loads the targets and held-out classifiers of a run, targets first.

    Args:
      config: the whole configuration.
      splits: the data set, or what `trained_on` knows of it.
      workdir: folder of the run.

    Raises:
      UserError: a classifier is missing, damaged, or of other data or settings.
    """
    classifiers = {}
    for name in (*config.classifiers.targets, *config.classifiers.held_out):
        if is_published(name) and not config.classifiers.heads:
            classifiers[name] = load_published(name, splits, config, workdir)
            continue
        try:
            variables = load_classifier(name, splits, config, workdir)
        except DamagedError as error:
            raise UserError(
                f"{error}: train.py with the same --config and --workdir trains it again"
            ) from error
        if variables is None:
            missing = (
                f"{pathlib.Path(workdir) / FOLDER} has no classifier {name!r} for these data and "
                "settings"
            )
            try:
                check_same_run(config, splits, workdir, name)
            except UserError as error:
                raise UserError(f"{missing}: {error}") from error
            raise UserError(
                f"{missing}: evaluate with the config of the training run, or run train.py first"
            )
        classifiers[name] = network_of(name, splits, config), variables
    return classifiers


def network_of(name: str, splits: data.Splits | DataOrigin, config: ConfigDict) -> nn.Module:
    """The network of a classifier that reads the data set's classes, published ones with heads."""
    if is_published(name):
        return published.with_head(config, name, splits.num_classes).module
    return classifiers_lib.build_classifier(name, splits.num_classes)


def load_published(
    name: str, splits: data.Splits | DataOrigin, config: ConfigDict, workdir: pathlib.Path
) -> tuple[nn.Module, Any]:
    """Loads a published classifier, unless the workdir's run used other weights of that name.

    Returns:
      Its module and its variables.

    Raises:
      UserError: its file is missing, damaged or another one, or the workdir is another run's.
    """
    check_same_run(config, splits, workdir, name)
    if known := remembered(name, workdir):
        published.check_identity(config, name, known)
    return published.load(config, name)


def remembered(name: str, workdir: pathlib.Path) -> dict[str, Any]:
    """What `published.identity` was of a published classifier of a run; {} where it is new."""
    return info_of(classifier_folder(workdir, name)).get("origin", {}).get("published", {})


def remember_published(
    config: ConfigDict, splits: data.Splits | DataOrigin, workdir: pathlib.Path
) -> None:
    """Saves where the published classifiers of a run come from, of those that were loaded."""
    for name in (*config.classifiers.targets, *config.classifiers.held_out):
        folder = classifier_folder(workdir, name)
        if is_published(name) and is_main_process() and not remembered(name, workdir):
            folder.mkdir(parents=True, exist_ok=True)
            save_info(folder, {"origin": origin_of(name, splits, config)})


def load_classifier(
    name: str, splits: data.Splits | DataOrigin, config: ConfigDict, workdir: pathlib.Path
) -> Any | None:
    """Loads the variables of a classifier that was trained on the same data and settings.

    Returns:
      The variables; None if the workdir has no such classifier.

    Raises:
      DamagedError: its files can't be read.
      UserError: the file of published weights isn't the one to which the run fitted a head.
    """
    if known := remembered(name, workdir):
        published.check_identity(config, name, known)
    origin = info_of(classifier_folder(workdir, name)).get("origin")
    if origin is None or origin != origin_of(name, splits, config):
        return None
    return read_variables(name, network_of(name, splits, config), workdir)


def read_variables(name: str, module: nn.Module, workdir: pathlib.Path) -> Any:
    """Loads the variables of a classifier of a workdir, whatever it was trained on.

    Args:
      name: of the classifier.
      module: its network, with as many classes.
      workdir: folder of the run.

    Raises:
      UserError: the workdir has no such classifier.
      DamagedError: its files can't be read.
    """
    trained_on(name, workdir)
    folder = classifier_folder(workdir, name)
    # To the host: the weights go wherever they are used.
    target = jax.tree.map(
        lambda x: np.zeros(x.shape, x.dtype), variable_shapes(module, train=False)
    )
    with (
        reading(f"the classifier {folder}"),
        ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer,
    ):
        variables = checkpointer.restore(folder / _WEIGHTS, args=ocp.args.StandardRestore(target))
    return jax.tree.map(jnp.asarray, variables)


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


def clean_accuracies(names: tuple[str, ...], workdir: pathlib.Path) -> dict[str, dict[str, float]]:
    """Accuracies on clean images, {'train': share, 'test': share} by name, as `save_info` wrote.

    Published classifiers without heads have none.
    """
    infos = {
        name: json.loads((classifier_folder(workdir, name) / INFO).read_text()) for name in names
    }
    return {name: info["accuracy"] for name, info in infos.items() if "accuracy" in info}


def save_weights(folder: pathlib.Path, variables: Any) -> None:
    """Saves the weights; the classifier counts as finished only when `save_info` follows.

    Args:
      folder: of the classifier.
      variables: on the host.
    """
    if is_main_process():
        (folder / INFO).unlink(missing_ok=True)
    with quietly(), ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        checkpointer.save(folder / _WEIGHTS, args=ocp.args.StandardSave(variables), force=True)


def save_info(folder: pathlib.Path, info: Mapping[str, Any]) -> None:
    """Marks the weights in a classifier's folder as whole, and says where they come from.

    Args:
      folder: of the classifier.
      info: its `origin` and, of one that the run trained, its `accuracy`.
    """
    if is_main_process():
        write_whole(folder / INFO, (json.dumps(info, indent=2) + "\n").encode())
