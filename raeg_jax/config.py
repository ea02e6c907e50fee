"""The configuration of a run as data: saved, read back and compared."""

import importlib.metadata
import json
import os
import pathlib
from typing import Any

from ml_collections import ConfigDict

from raeg_jax import __version__
from raeg_jax.errors import UserError
from raeg_jax.files import read_file, write_whole

FILE = "config.json"

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")

# Settings that change neither what is learned nor from what: a run may go on with others.
_FREE = (
    "name",
    "parallel",
    "multi_host",
    "eval",
    "suite",
    "comparison",
    # Other stages are not trained: they may follow any learned stage.
    "generator.stages",
    "generator.shortcut",
    "generator.gradient",
)
_FREE_DATA = ("source", "cache_dir", "list_file", "memory_mib", "workers")
_FREE_TRAIN = (
    "log_every",
    "eval_every",
    "eval_images",
    "checkpoint_every",
    "keep_last",
    "best_metric",
    "best_mode",
    "image_grids",
)
_IGNORED = frozenset(
    (
        *_FREE,
        *(f"data.{name}" for name in _FREE_DATA),
        *(f"train.{name}" for name in _FREE_TRAIN),
    )
)
# Free settings that say how a checkpoint is evaluated, where its data lie, and which one is best.
_OF_EVALUATION = (
    *_FREE,
    *(f"data.{name}" for name in _FREE_DATA),
    *(f"train.{name}" for name in ("best_metric", "best_mode")),
)
# Settings that may change when a run goes on, but make it another run than an unbroken one.
_ADJUSTABLE = ("loss", "optimizer", "attack_layer", "train.steps")


def to_json(config: ConfigDict) -> dict[str, Any]:
    """The configuration as JSON holds it: nested dicts, tuples as lists."""
    return json.loads(json.dumps(config.to_dict()))


def versions() -> dict[str, str]:
    """Versions of the packages that numbers may depend on."""
    others = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"raeg-jax": __version__} | others


def save(config: ConfigDict, path: str | os.PathLike) -> None:
    """Writes the resolved configuration and the versions to a JSON file, whole at any time."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"config": to_json(config), "versions": versions()}, indent=2)
    write_whole(path, (content + "\n").encode())


def load(path: str | os.PathLike) -> ConfigDict:
    """Reads what `save` wrote, perhaps long ago.

    Raises:
      UserError: no such file, or another kind of file.
    """
    try:
        saved = json.loads(read_file(path))["config"]
        return ConfigDict(with_tuples(saved)).lock()
    except FileNotFoundError:
        raise UserError(f"there is no {path}: name the workdir of a run of train.py") from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror or error})") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} isn't the settings of a run: take it from your copy") from error


def with_tuples(value: Any) -> Any:
    """Turns JSON's lists into the tuples that settings have."""
    if isinstance(value, dict):
        return {name: with_tuples(entry) for name, entry in value.items()}
    return tuple(map(with_tuples, value)) if isinstance(value, list) else value


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _is_in(name: str, names) -> bool:
    return any(name == other or name.startswith(other + ".") for other in names)


def differences(
    saved: dict[str, Any], config: ConfigDict
) -> tuple[dict[str, tuple[Any, Any]], dict[str, tuple[Any, Any]]]:
    """Compares a saved configuration with the present one, leaving out what doesn't matter.

    Args:
      saved: what `to_json` gave when the run began.
      config: the present configuration.

    Returns:
      Two dicts {name: (saved value, present value)}: settings that must stay the same for the run
      to go on (the network, the data, the batch, the seed), and settings that may change, with
      results that differ from those of an unbroken run (the loss, the optimiser, the length).
      A setting that one side lacks has the value None there.
    """
    changes = {
        name: pair
        for name, pair in changed(saved, to_json(config)).items()
        if not _is_in(name, _IGNORED)
    }
    adjustable = {name: pair for name, pair in changes.items() if _is_in(name, _ADJUSTABLE)}
    return {name: pair for name, pair in changes.items() if name not in adjustable}, adjustable


def changed(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings that differ, as {name: (old value, new value)}; None where one side lacks it."""
    old, new = _flatten(old), _flatten(new)
    return {
        name: (old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    }


def as_trained(config: ConfigDict, saved: dict[str, Any]) -> ConfigDict:
    """The settings of a checkpoint's evaluation: its own, but for those that only evaluation uses.

    Args:
      config: the present configuration, of which `eval` and where the data lie are taken.
      saved: what `to_json` gave when the checkpoint was made. What it lacks, because it is of an
        older version, is as in `config`.
    """
    result = config.copy_and_resolve_references()
    present = _flatten(to_json(config))
    own = {
        name: value
        for name, value in _flatten(saved).items()
        if name in present and not _is_in(name, _OF_EVALUATION)
    }
    result.update_from_flattened_dict(own)
    return result


def describe(changes: dict[str, tuple[Any, Any]]) -> str:
    """One phrase for the differences: 'config.seed was 0, is 1; ...'."""
    return "; ".join(
        f"config.{name} was {old!r}, is {new!r}" for name, (old, new) in changes.items()
    )
