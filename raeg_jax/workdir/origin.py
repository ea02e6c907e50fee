"""Which run a workdir belongs to: another run's results are neither used nor replaced."""

import contextlib
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from raeg_jax import data
from raeg_jax.config import run_config
from raeg_jax.errors import UserError
from raeg_jax.networks.weights import is_published
from raeg_jax.workdir import published
from raeg_jax.workdir.checkpoint import Checkpoints
from raeg_jax.workdir.processes import say

FOLDER = "classifiers"
INFO = "info.json"
# Folder of the checkpoints of a classifier whose training is not finished.
UNFINISHED = "unfinished"


class DataOrigin(NamedTuple):
    """The part of `data.Splits` that loading needs, for a data set that isn't at hand.

    Attributes:
      fingerprint: 16 digits that change with the data.
      class_names: one a label.
      name: of the data set, in messages.
    """

    fingerprint: str
    class_names: tuple[str, ...]
    name: str = "classifier's"

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)


def check_same_settings(config: ConfigDict, checkpoints: Checkpoints) -> dict[str, Any]:
    """Stops if the workdir's run had other settings of those that must not change.

    Returns:
      The other settings that differ, {name: (saved value, present value)}.

    Raises:
      UserError: naming each setting, its old and its new value.
    """
    if not checkpoints.steps():
        return {}
    fixed, adjustable = run_config.classify_changes(checkpoints.meta()["config"], config)
    if fixed:
        raise UserError(
            f"the workdir holds another run: {run_config.describe(fixed)}. Use the same settings "
            "to resume it, or another --workdir."
        )
    return adjustable


def check_resumable(config: ConfigDict, checkpoints: Checkpoints) -> None:
    """Stops if the workdir's run can't be resumed with these settings; notes harmless differences.

    A run that has taken all its steps must not change at all: nothing would be trained with the new
    settings.

    Raises:
      UserError: naming each setting, its old and its new value.
    """
    if not checkpoints.steps():
        return
    saved, adjustable = checkpoints.meta(), check_same_settings(config, checkpoints)
    done = checkpoints.steps()[-1]
    if adjustable and done >= config.train.steps:
        raise UserError(
            f"the run in {checkpoints.workdir} finished at step {done} with other settings: "
            f"{run_config.describe(adjustable)}; raise config.train.steps to resume with the "
            "new settings, or use another --workdir"
        )
    if adjustable:
        say(f"note: resuming with other settings: {run_config.describe(adjustable)}")
    changed = {
        name: (saved["versions"].get(name), version)
        for name, version in run_config.versions().items()
        if saved["versions"].get(name) != version
    }
    if changed:
        rows = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in changed.items())
        say(f"note: other versions than before, so bits may differ: {rows}")


def check_same_run(
    config: ConfigDict,
    splits: data.Splits | DataOrigin,
    workdir: pathlib.Path,
    name: str = "*",
) -> None:
    """Stops at a workdir with classifiers, finished or not, of other data or settings.

    Which classifiers a run has, and in which roles, may change.

    Args:
      config: the whole configuration.
      splits: the data set, or what `trained_on` knows of it.
      workdir: folder of the run.
      name: of the classifier to check; all by default.

    Raises:
      UserError: naming the old and the new values.
    """
    for folder in sorted((pathlib.Path(workdir) / FOLDER).glob(name)):
        present = _run_of(folder.name, splits, config)
        for origin in (info_of(folder).get("origin", present), *unfinished_origins(folder)):
            if changes := run_config.changed_settings(_settings(origin), _settings(present)):
                raise UserError(
                    f"the workdir holds another run: {run_config.describe(changes)}. Use the same "
                    "settings to resume it, or another --workdir."
                )
            check_same_images(origin.get("data"), splits)


def check_same_images(fingerprint: str, splits: data.Splits | DataOrigin) -> None:
    """Stops unless the data set has the fingerprint that a run was trained on.

    Raises:
      UserError: it has another.
    """
    if fingerprint != splits.fingerprint:
        raise UserError(
            f"the {splits.name} images are not those that the workdir's run was trained on "
            f"(fingerprint {fingerprint} then, {splits.fingerprint} now): restore them, or use "
            "another --workdir"
        )


def _settings(origin: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are part of an origin, in their groups."""
    settings = {name: origin.get(name) for name in ("seed", "classifiers", "augment")}
    return settings | {"data": {"image_size": origin.get("image_size")}}


def info_of(folder: pathlib.Path) -> dict[str, Any]:
    """Reads the file that is written when a classifier is finished; {} without a whole file."""
    try:
        info = json.loads((folder / INFO).read_bytes())
        return info if info["origin"]["data"] and info["origin"]["classes"] else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def unfinished_origins(folder: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Origins of the checkpoints in a classifier's folder, of those that can be read."""
    for path in sorted((pathlib.Path(folder) / UNFINISHED).glob("*/origin/metadata")):
        if path.parts[-3].isdecimal():
            with contextlib.suppress(OSError, ValueError):
                yield json.loads(path.read_bytes())


def origin_of(name: str, splits: data.Splits | DataOrigin, config: ConfigDict) -> dict[str, Any]:
    """Returns all that a classifier depends on, as JSON holds it.

    Args:
      name: of the classifier.
      splits: the data set, or what `trained_on` knows of it.
      config: the whole configuration.

    Raises:
      UserError: the file of a published classifier is missing, or not one of ours.
    """
    origin = _run_of(name, splits, config)
    if is_published(name):
        origin["published"] = published.identity(config, name)
    return origin


def _run_of(name: str, splits: data.Splits | DataOrigin, config: ConfigDict) -> dict[str, Any]:
    """The origin but for files: a published classifier depends on no data, but its run does."""
    run = {
        "name": name,
        "data": splits.fingerprint,
        "classes": list(splits.class_names),
        "image_size": config.data.image_size,
        "seed": config.seed,
    }
    heads = config.classifiers.heads
    if is_published(name):
        # Heads of version 0.1.0 saw pixels repeated.
        seen = {"heads": heads, "interpolates": True}
        fitted = {"classifiers": seen, "augment": {"flip": config.augment.flip}}
        return run | fitted if heads else run
    settings = run_config.to_json(config)
    for other in ("targets", "held_out", "weights", "heads"):
        del settings["classifiers"][other]
    # Classifiers of version 0.1.0 know nothing of it.
    if settings["augment"]["crop_share"] == run_config.LATER["augment.crop_share"]:
        del settings["augment"]["crop_share"]
    return run | {"classifiers": settings["classifiers"], "augment": settings["augment"]}


def classifier_folder(workdir: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the folder of a classifier, finished or not."""
    return pathlib.Path(workdir).absolute() / FOLDER / name
