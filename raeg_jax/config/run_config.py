"""The configuration of a run as data: saved, read back and compared."""

import functools
import importlib.metadata
import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from raeg_jax import __version__
from raeg_jax.errors import UserError
from raeg_jax.files import json_bytes, read_file, write_whole

FILE = "config.json"

# {name: (old value, new value)}; None where one side lacks the setting.
Changes = dict[str, tuple[Any, Any]]

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")

# Groups and settings that say how a checkpoint is evaluated, where its data lie, and which is best.
_FOR_EVALUATION = (
    "name",
    "parallel",
    "multi_host",
    "eval",
    "suite",
    "comparison",
    "ablation",
    # Checkpoints are of the learned stage: other stages may follow it, with patterns that know
    # their own settings (`workdir.patterns`).
    "generator.stages",
    "generator.shortcut",
    "generator.gradient",
    *(
        f"patterns.{name}"
        for name in ("grid", "variants", "steps", "batch_size", "learning_rate", "adversarial")
    ),
    *(f"data.{name}" for name in ("source", "cache_dir", "list_file", "memory_mib", "workers")),
    "classifiers.weights",
    *(f"train.{name}" for name in ("best_metric", "best_mode")),
)
# These change neither what is learned nor from what: a run may resume with others.
_IRRELEVANT = (
    *_FOR_EVALUATION,
    "train.memory",
    "train.log_every",
    "train.eval_every",
    "train.eval_images",
    "train.checkpoint_every",
    "train.keep_last",
    "train.image_grids",
)
# Settings that came after version 0.1.0, each with the value, as JSON has it, that changes nothing.
# Where workdirs and generator files lack one it is filled in; the ids of generators with that value
# leave it out.
LATER: dict[str, Any] = {
    "attack_layer.probability.grey": 0.0,
    "attack_layer.probability.sharpen": 0.0,
    "attack_layer.sharpen_amount": [0.5, 1.5],
    "augment.crop_share": 1.0,
    "classifiers.heads": 0,
    "classifiers.weights": "",
    "generator.clamping": "tanh",
    "generator.class_planes": 0,
    "generator.gradient.others": 1,
    "generator.gradient.momentum": 0.0,
    "patterns.grid": 32,
    "patterns.variants": 1,
    "patterns.surrogates": ["resnet_small", "vgg_small"],
    "patterns.steps": 3000,
    "patterns.batch_size": 64,
    "patterns.learning_rate": 0.06,
    "patterns.renew_every": 400,
    "patterns.adversarial": 4.0,
    "loss.weight.poison": 0.0,
    "train.memory": "plain",
}
# A run may resume with others, but gives another result than an uninterrupted one.
_ADJUSTABLE = ("loss", "optimizer", "attack_layer", "patterns", "train.steps")


def to_json(config: ConfigDict) -> dict[str, Any]:
    """The configuration as JSON holds it: nested dicts, tuples as lists."""
    return json.loads(json.dumps(config.to_dict()))


def with_tuples(value: Any) -> Any:
    """Turns JSON's lists into the tuples that settings have, in nested dicts too."""
    if isinstance(value, dict):
        return {name: with_tuples(entry) for name, entry in value.items()}
    return tuple(map(with_tuples, value)) if isinstance(value, list) else value


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted names: {'loss.kappa': 4.0, ...}."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Undoes `flatten`."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, last = name.split(".")
        functools.reduce(lambda group, key: group.setdefault(key, {}), groups, tree)[last] = value
    return tree


def versions() -> dict[str, str]:
    """Versions of the packages that numbers may depend on."""
    others = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"raeg-jax": __version__} | others


def save(config: ConfigDict, path: str | os.PathLike) -> None:
    """Writes the resolved configuration and the versions of packages to a JSON file.

    Args:
      config: of the run.
      path: of the file; its folder is made if missing.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json_bytes({"config": to_json(config), "versions": versions()}))


def load(path: str | os.PathLike) -> ConfigDict:
    """Reads what `save` wrote, perhaps long ago.

    Raises:
      UserError: no such file, or another kind of file.
    """
    try:
        saved = json.loads(read_file(path))["config"]
        return ConfigDict(with_tuples(_nested(LATER | flatten(saved)))).lock()
    except FileNotFoundError:
        raise UserError(f"there is no {path}: name the workdir of a run of train.py") from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror or error})") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} isn't the settings of a run: take it from your copy") from error


def changed_settings(old: dict[str, Any], new: dict[str, Any]) -> Changes:
    """Settings that differ between two configurations, each as `to_json` returns it."""
    old, new = flatten(old), flatten(new)
    return {
        name: (old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    }


def classify_changes(saved: dict[str, Any], config: ConfigDict) -> tuple[Changes, Changes]:
    """Compares a saved configuration with the present one, leaving out irrelevant settings.

    Args:
      saved: what `to_json` returned when the run started.
      config: the present configuration.

    Returns:
      Settings that must stay the same for the run to resume (the network, the data, the batch,
      the seed), and settings that may change, with results that differ from those of an
      uninterrupted run (the loss, the optimizer, the number of steps).
    """
    changes = {
        name: values
        for name, values in changed_settings(LATER | flatten(saved), to_json(config)).items()
        if not _is_in(name, _IRRELEVANT)
    }
    adjustable = {name: values for name, values in changes.items() if _is_in(name, _ADJUSTABLE)}
    fixed = {name: values for name, values in changes.items() if name not in adjustable}
    return fixed, adjustable


def _is_in(name: str, groups: Iterable[str]) -> bool:
    return any(name == group or name.startswith(group + ".") for group in groups)


def evaluation_config(config: ConfigDict, saved: dict[str, Any]) -> ConfigDict:
    """The settings that evaluate a checkpoint: those of its training, but for a few.

    Args:
      config: the present configuration, whose `eval`, paths of data and other settings that only
        evaluation uses are taken.
      saved: what `to_json` returned when the checkpoint was made. What it lacks, because an older
        version wrote it, is as in `LATER`, or else as in `config`.
    """
    result = config.copy_and_resolve_references()
    present = flatten(to_json(config))
    result.update_from_flattened_dict(
        {
            name: value
            for name, value in (LATER | flatten(saved)).items()
            if name in present and not _is_in(name, _FOR_EVALUATION)
        }
    )
    return result


def describe(changes: Changes) -> str:
    """One phrase for changed settings: 'config.seed was 0, is 1; ...'."""
    return "; ".join(
        f"config.{name} was {old!r}, is {new!r}" for name, (old, new) in changes.items()
    )
