"""What the classifiers of a workdir come from: another run's are neither used nor replaced."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from raeg_jax import data
from raeg_jax.config import run_config
from raeg_jax.errors import UserError
from raeg_jax.training.classifier_checkpoint import unfinished_origins

FOLDER = "classifiers"
INFO = "info.json"


class DataOrigin(NamedTuple):
    """What is known of a data set that isn't there: as much of `data.Splits` as loading needs.

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
      name: of the one classifier to look at; all by default.

    Raises:
      UserError: naming what was and what is.
    """
    for folder in sorted((pathlib.Path(workdir) / FOLDER).glob(name)):
        present = origin_of(folder.name, splits, config)
        for origin in (info_of(folder).get("origin", present), *unfinished_origins(folder)):
            if changes := run_config.changed_settings(_settings(origin), _settings(present)):
                raise UserError(
                    f"the workdir holds another run: {run_config.describe(changes)}. Use the same "
                    "settings to go on with it, or another --workdir."
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
    own = {name: origin.get(name) for name in ("seed", "classifiers", "augment")}
    return own | {"data": {"image_size": origin.get("image_size")}}


def info_of(folder: pathlib.Path) -> dict[str, Any]:
    """Reads what the training of a classifier wrote at its end; {} where there is no whole file."""
    try:
        found = json.loads((folder / INFO).read_bytes())
        return found if found["origin"]["data"] and found["origin"]["classes"] else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def origin_of(name: str, splits: data.Splits | DataOrigin, config: ConfigDict) -> dict[str, Any]:
    """Returns all that a trained classifier depends on, as JSON holds it."""
    settings = run_config.to_json(config)
    for role in ("targets", "held_out"):
        del settings["classifiers"][role]
    return {
        "name": name,
        "data": splits.fingerprint,
        "classes": list(splits.class_names),
        "image_size": config.data.image_size,
        "seed": config.seed,
        "classifiers": settings["classifiers"],
        "augment": settings["augment"],
    }


def classifier_folder(workdir: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the folder of a classifier, finished or not."""
    return pathlib.Path(workdir).absolute() / FOLDER / name
