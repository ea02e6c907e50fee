"""The learned patterns of a workdir, in `patterns/`: saved once, then loaded.

`patterns.npy` holds them, `info.json` what they were learned from and with which settings. While
they are learned, checkpoints in `unfinished/` let the training resume.
"""

import io
import json
import pathlib
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from raeg_jax import data
from raeg_jax.config import run_config
from raeg_jax.data.cache import digest_of
from raeg_jax.errors import UserError
from raeg_jax.files import write_whole
from raeg_jax.generator.build import has_patterns
from raeg_jax.workdir.checkpoint_folder import DamagedError
from raeg_jax.workdir.origin import (
    INFO,
    DataOrigin,
    check_same_images,
    info_of,
    unfinished_origins,
)
from raeg_jax.workdir.processes import is_main_process

_FOLDER = "patterns"
_FILE = "patterns.npy"
# Patterns may be used at another distance than they were learned at.
_DISTANCE = "generator.shortcut.target_psnr"
# Of `config.classifiers`, what trains surrogates.
_RECIPE = ("learning_rate", "weight_decay", "warmup_steps", "label_smoothing")


def patterns_folder(workdir: pathlib.Path) -> pathlib.Path:
    """The folder of learned patterns, finished or not."""
    return pathlib.Path(workdir).absolute() / _FOLDER


def origin_of_patterns(splits: data.Splits | DataOrigin, config: ConfigDict) -> dict[str, Any]:
    """Returns all that learned patterns depend on, as JSON holds it."""
    saved = run_config.to_json(config)
    settings = {name: saved[name] for name in ("seed", "patterns", "attack_layer", "augment")}
    settings["classifiers"] = {name: saved["classifiers"][name] for name in _RECIPE}
    settings["data"] = {"image_size": config.data.image_size}
    settings["generator"] = {"shortcut": {"target_psnr": config.generator.shortcut.target_psnr}}
    return {
        "data": splits.fingerprint,
        "classes": list(splits.class_names),
        "settings": settings,
    }


def check_same_patterns(
    config: ConfigDict,
    splits: data.Splits | DataOrigin,
    workdir: pathlib.Path,
    at_same_distance: bool = True,
) -> None:
    """Stops at a workdir with learned patterns, finished or not, of other data or settings.

    Args:
      config: the whole configuration.
      splits: the data set, or what is known of it.
      workdir: folder of the run.
      at_same_distance: whether the PSNR that they were learned for counts.

    Raises:
      UserError: naming the old and the new values.
    """
    folder, present = patterns_folder(workdir), origin_of_patterns(splits, config)
    for origin in (info_of(folder).get("origin", present), *unfinished_origins(folder)):
        changes = run_config.changed_settings(origin["settings"], present["settings"])
        if not at_same_distance:
            changes.pop(_DISTANCE, None)
        if changes:
            raise UserError(
                f"the workdir's patterns are of another run: {run_config.describe(changes)}. Use "
                "the same settings, or another --workdir."
            )
        check_same_images(origin["data"], splits)


def load_patterns(
    config: ConfigDict, splits: data.Splits | DataOrigin, workdir: pathlib.Path
) -> np.ndarray | None:
    """Loads the learned patterns of a run, whatever the distance that they were learned for.

    Args:
      config: the whole configuration.
      splits: the data set, or what `trained_on` knows of it.
      workdir: folder of the run.

    Returns:
      int8 [classes, variants, side, side, 3]; None where the generator has none.

    Raises:
      UserError: they are missing, damaged, or of other data or settings.
    """
    if not has_patterns(config.generator):
        return None
    check_same_patterns(config, splits, workdir, at_same_distance=False)
    try:
        patterns = read_patterns(workdir)
    except DamagedError as error:
        raise UserError(
            f"{error}: train.py with the same --config and --workdir learns them again"
        ) from error
    if patterns is None:
        raise UserError(
            f"{workdir} has no learned patterns, which config.generator.shortcut.pattern="
            "'learned' needs: train.py with the same --config and --workdir learns them"
        )
    return patterns


def read_patterns(workdir: pathlib.Path) -> np.ndarray | None:
    """Reads the patterns of a workdir, whatever they were learned from; None where it has none.

    Raises:
      DamagedError: they aren't what was saved.
    """
    folder = patterns_folder(workdir)
    info = info_of(folder)
    if not info:
        return None
    try:
        content = (folder / _FILE).read_bytes()
    except OSError as error:
        raise DamagedError(f"{folder / _FILE} can't be read ({error.strerror})") from error
    if digest_of(content) != info.get("digest"):
        raise DamagedError(f"{folder / _FILE} isn't what was saved")
    return np.load(io.BytesIO(content))


def save_patterns(workdir: pathlib.Path, patterns: np.ndarray, origin: dict[str, Any]) -> None:
    """Saves int8 patterns, and what they were learned from (`origin_of_patterns`)."""
    folder, file = patterns_folder(workdir), io.BytesIO()
    np.save(file, patterns)
    info = {"origin": origin, "digest": digest_of(file.getvalue())}
    if is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / INFO).unlink(missing_ok=True)
        write_whole(folder / _FILE, file.getvalue())
        write_whole(folder / INFO, (json.dumps(info, indent=2) + "\n").encode())
