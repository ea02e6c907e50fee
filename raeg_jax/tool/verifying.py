"""Recovering in memory: do all originals come back, and what do classifiers see?"""

import collections
import dataclasses
import functools
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tqdm

from raeg_jax.codec.picture import Picture, read_picture
from raeg_jax.errors import UserError
from raeg_jax.tool import walk
from raeg_jax.tool.flow import Loaded
from raeg_jax.tool.outcome import Outcome, Status
from raeg_jax.tool.recovering import recover, restored


@dataclasses.dataclass(frozen=True, eq=False)
class Compared(Loaded):
    """A protected picture and what may be its original.

    Attributes:
      originals: empty where none were given.
    """

    originals: tuple[Picture, ...] = ()

    @property
    def weight(self) -> int:
        """All its pictures'."""
        return super().weight * (1 + len(self.originals))


class _Checked(NamedTuple):
    """A `codec.recover.Recovered`, and by classifier what it sees before and after."""

    recovered: Any
    readings: Mapping[str, Mapping[str, str]]


@dataclasses.dataclass(frozen=True)
class Verifying:
    """The steps of verifying, see `flow.Steps`; nothing is written.

    Attributes:
      recoverer: as `codec.recover.Recoverer`, which compares the hash.
      readers: as `tool.reading.Readers`, or None.
      originals: a folder in which originals lie as in the source of protection, or the original of
        a single file; None where they aren't at hand.
      misread: by classifier, number of protected images that it reads otherwise than originals.
    """

    recoverer: Any
    readers: Any
    originals: pathlib.Path | None
    misread: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    read_at_all: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def read(self, job: walk.Job) -> Compared:
        """Reads a protected file, and its original."""
        originals = ()
        if self.originals is not None:
            originals = tuple(map(read_picture, find_originals(self.originals, job)))
        return Compared(job, read_picture(job.source), originals=originals)

    def transform(self, loaded: Sequence[Compared]) -> list[_Checked | Exception]:
        """Recovers, and has all images read."""
        results = recover(self.recoverer, loaded)
        good = [i for i, result in enumerate(results) if not isinstance(result, Exception)]
        readings = [{} for _ in results]
        if self.readers and good:
            kinds = {
                "protected": [loaded[i].picture.pixels for i in good],
                "recovered": [results[i].pixels for i in good],
            }
            if self.originals is not None:
                kinds = {"original": [loaded[i].originals[0].pixels for i in good], **kinds}
            for kind, images in kinds.items():
                for name, classes in self.readers.read(images).items():
                    for i, seen in zip(good, classes, strict=True):
                        readings[i].setdefault(name, {})[kind] = seen
        return [
            result if isinstance(result, Exception) else _Checked(result, seen)
            for result, seen in zip(results, readings, strict=True)
        ]

    def write(self, loaded: Compared, result: _Checked) -> Outcome:
        """Compares with the original."""
        picture, notes = restored(loaded.picture, result.recovered)
        if loaded.originals and not any(_equal(picture, one) for one in loaded.originals):
            raise UserError(
                f"{loaded.job.source} is recovered as it was protected, but the original given "
                f"differs: has {loaded.job.name} been changed in {self.originals}?"
            )
        payload = "pixels" if result.recovered.in_pixels else "chunk"
        details = {"payload": payload, "readings": result.readings}
        return Outcome(loaded.job.name, notes=notes, details=details)

    def keep(self, written) -> list[Outcome]:
        """Has nothing to do."""
        return []

    def tell(self, outcome: Outcome) -> None:
        """Prints a line."""
        if outcome.status is Status.FAILED:
            _line(f"FAILED  {outcome.reason}")
            return
        parts = [f"exact   {outcome.name}"]
        for name, seen in outcome.details["readings"].items():
            parts.append(f"{name}: " + ", ".join(f"{kind} {what}" for kind, what in seen.items()))
            self.read_at_all[name] += 1
            self.misread[name] += seen["protected"] != seen["recovered"]
        _line("; ".join(parts))

    def summary(self) -> list[str]:
        """Returns a line for each classifier."""
        return [
            f"{name} reads {self.misread[name]} of {count} protected images otherwise than the "
            "recovered ones"
            for name, count in self.read_at_all.items()
        ]


def check_originals(source: pathlib.Path, given: str | None) -> pathlib.Path | None:
    """Looks at what was given as originals.

    Raises:
      UserError: there is no such thing, or a file where a folder must be.
    """
    if given is None:
        return None
    path = pathlib.Path(given)
    if not path.exists():
        raise UserError(f"{given} doesn't exist: check the name of the originals")
    if source.is_dir() and not path.is_dir():
        raise UserError(f"{given} is a file, and {source} a folder: name the originals' folder")
    return path


def find_originals(originals: pathlib.Path, job: walk.Job) -> list[pathlib.Path]:
    """Finds the original of a protected file: in the same sub-folder, with whatever suffix.

    Returns:
      one file, or some with names that differ in their suffix only.

    Raises:
      UserError: there is none.
    """
    if not originals.is_dir():
        return [originals]
    folder = originals / os.path.dirname(job.name)
    # The name of `a.jpg.png` was `a.jpg`; that of `a.png` was `a` with any suffix.
    stem = os.path.splitext(os.path.basename(job.name))[0]
    names = _images(folder)
    found = [stem] if stem in names.get(os.path.splitext(stem)[0], ()) else names.get(stem, [])
    if not found:
        raise UserError(f"{job.source} has no original in {folder}: check --originals")
    return [folder / name for name in found]


@functools.lru_cache(maxsize=8)
def _images(folder: pathlib.Path) -> dict[str, list[str]]:
    """Names of a folder's images by what they are without suffix."""
    found = collections.defaultdict(list)
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return found
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in walk.SUFFIXES:
            found[stem].append(name)
    return found


def _equal(one: Picture, other: Picture) -> bool:
    """Whether all samples are, alpha's too; what is opaque everywhere may be so without alpha."""
    alphas = [np.uint8(255) if picture.alpha is None else picture.alpha for picture in (one, other)]
    return np.array_equal(one.pixels, other.pixels) and bool(np.all(alphas[0] == alphas[1]))


def _line(text: str) -> None:
    tqdm.tqdm.write(text, file=sys.stdout)
