"""The published classifiers of a run: files of weights in the folder `config.classifiers.weights`.

A workdir holds no copy of them, but for those with heads that the run has fitted. It remembers what
they were in `classifiers/NAME/info.json`, so that other weights of the same name are noticed.
"""

import pathlib
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax.errors import UserError
from raeg_jax.files import sha256, user_path
from raeg_jax.networks.weights import PublishedNetwork, describe_weights, load_weights


def weights_path(config: ConfigDict, name: str) -> pathlib.Path:
    """The file of a published classifier.

    Raises:
      UserError: there is none.
    """
    path = user_path(config.classifiers.weights) / name
    if not path.is_file():
        raise UserError(
            f"there is no {path}, a classifier of the run: `raeg weights import NETWORK FILE "
            f"{path}` makes it, or config.classifiers.weights says where it is "
            "(--config.classifiers.weights=FOLDER; of `raeg export`: in the workdir's config.json)"
        )
    return path


def describe(config: ConfigDict, name: str) -> PublishedNetwork:
    """Reads what the file of a published classifier says of itself, without its arrays.

    Raises:
      UserError: there is none, or not one of ours.
    """
    return describe_weights(weights_path(config, name))


def with_head(config: ConfigDict, name: str, num_classes: int) -> PublishedNetwork:
    """As `describe`, with the head that the run fits (`config.classifiers.heads`)."""
    return describe(config, name).with_head(num_classes, config.classifiers.heads)


def load(config: ConfigDict, name: str) -> tuple[nn.Module, Any]:
    """Reads a published classifier: its module and its variables.

    Raises:
      UserError: there is no file, or not a whole one of ours.
    """
    network, variables = load_weights(weights_path(config, name))
    return network.module, variables


def identity(config: ConfigDict, name: str) -> dict[str, Any]:
    """All that results depend on of a published classifier, as JSON holds it.

    Raises:
      UserError: there is no file, or not one of ours.
    """
    path = weights_path(config, name)
    return {"sha256": sha256(path), **describe_weights(path).to_json()}


def check_identity(config: ConfigDict, name: str, known: dict[str, Any]) -> None:
    """Stops at a file that isn't the one that a workdir remembers.

    Args:
      config: the whole configuration.
      name: of the classifier.
      known: what `identity` returned then.

    Raises:
      UserError: naming what differs.
    """
    present = identity(config, name)
    if changes := [key for key in present if present[key] != known.get(key)]:
        # The first says least: weights differ wherever anything else does.
        key = changes[-1]
        raise UserError(
            f"{weights_path(config, name)} isn't the file that the workdir's run used: its {key} "
            f"was {known.get(key)}, is {present[key]}; restore it, name its folder with "
            "--config.classifiers.weights, or use another --workdir"
        )
