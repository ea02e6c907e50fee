"""What the scripts of this folder are given: checks of their flags, folders and images.

A benchmark may run for hours: what can be known to be wrong stops it before anything is loaded.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from raeg_jax.errors import UserError


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


def owner(*named: flags.FlagHolder[str]) -> list[str | pathlib.Path]:
    """The arguments of `raeg` that have the same names as flags of files, such as `--key`.

    Raises:
      UserError: there is no such file.
    """
    pairs = [(f"--{flag.name}", existing(flag.name, flag.value)) for flag in named]
    return [argument for pair in pairs for argument in pair]


def write_results(path: pathlib.Path, results: Mapping[str, Any]) -> None:
    """Writes results as JSON, and prints them."""
    from raeg_jax.files import json_bytes, write_whole

    content = json_bytes(results)
    write_whole(path, content)
    print(content.decode(), end="")


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the items, evenly spread over them; all where `most` is 0."""
    count = min(most, len(items)) if most else len(items)
    return [items[index * len(items) // count] for index in range(count)]


def choose(folder: pathlib.Path, count: int, seed: int) -> tuple[list[pathlib.Path], list[str]]:
    """Photographs of a folder, drawn without replacement, and all its classes of ImageNet.

    Returns:
      Paths, and names of class folders: none unless all are classes of ImageNet.
    """
    from raeg_jax.data.source import images_in
    from raeg_jax.networks import imagenet

    names, _ = images_in(folder)
    classes = sorted({(folder / name).parent.name for name in names})
    places = np.random.RandomState(seed).permutation(len(names))[:count]
    paths = [folder / names[place] for place in sorted(places)]
    return paths, classes if imagenet.indices(classes) is not None else []


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
