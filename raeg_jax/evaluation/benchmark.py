"""What the scripts in `benchmarks/` share: checks of their flags, and the origin of results.

A benchmark may run for hours: what can be known to be wrong is told before anything is loaded.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from raeg_jax.config import run_config
from raeg_jax.config.schema import RULES
from raeg_jax.errors import UserError

_PSNR = RULES["generator.gradient.target_psnr"]


def psnrs(flag: str, values: Sequence[str]) -> list[float]:
    """The PSNRs that a flag lists, each once.

    Args:
      flag: its name.
      values: its entries.

    Raises:
      UserError: none, or one that no gradient stage can aim at.
    """
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        numbers = []
    if not numbers or not all(_PSNR.accepts(number) for number in numbers):
        raise UserError(f"--{flag}={','.join(values)}: each must be {_PSNR}")
    return list(dict.fromkeys(numbers))


def choices(flag: str, values: Sequence[str], known: Sequence[str]) -> list[str]:
    """The names that a flag lists, each once.

    Args:
      flag: its name.
      values: its entries.
      known: what they can be.

    Raises:
      UserError: none, or an unknown one.
    """
    if not values or not set(values) <= set(known):
        raise UserError(f"--{flag}={','.join(values)}: each must be of {', '.join(known)}")
    return list(dict.fromkeys(values))


def make_folder(out: str, workdir: pathlib.Path) -> pathlib.Path:
    """The folder of the results, made if it isn't there.

    Args:
      out: the flag `--out`; the workdir where empty.
      workdir: folder of the run.

    Raises:
      UserError: it can't be made.
    """
    folder = pathlib.Path(out or workdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out={folder}: can't be made a folder: {error.strerror}") from None
    return folder


def new_folder(out: str) -> pathlib.Path:
    """The folder of the results of one run, which must be empty or not there yet.

    Args:
      out: the flag `--out`.

    Raises:
      UserError: it isn't empty, or can't be made.
    """
    if not out:
        raise UserError("--out: name a new folder for the results")
    folder = make_folder(out, pathlib.Path())
    if any(folder.iterdir()):
        raise UserError(f"--out={out}: holds something already, name a new folder")
    return folder


def existing(flag: str, value: str) -> pathlib.Path:
    """The path that a flag names.

    Args:
      flag: its name.
      value: its value.

    Raises:
      UserError: there is nothing of that name.
    """
    if not value or not pathlib.Path(value).exists():
        raise UserError(f"--{flag}={value}: there is no such file or folder")
    return pathlib.Path(value)


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of some items, from all over them; all where `most` is 0."""
    count = min(most, len(items)) if most else len(items)
    return [items[index * len(items) // count] for index in range(count)]


def link(source: pathlib.Path, names: Sequence[str], folder: pathlib.Path) -> None:
    """Makes a folder with links to files.

    Args:
      source: folder of the files.
      names: of the files, relative to it.
      folder: the new one, in which they have the same names.
    """
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to((source / name).resolve())


def origin(config: ConfigDict) -> dict[str, Any]:
    """What numbers come from, as JSON holds it: settings of the generator, versions."""
    settings = run_config.to_json(config)
    return {
        "config": config.name,
        "image_size": config.data.image_size,
        "generator": settings["generator"],
        "versions": run_config.versions(),
    }
