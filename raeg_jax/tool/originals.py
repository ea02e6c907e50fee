"""Finding the originals of protected files."""

import collections
import functools
import os
import pathlib

from raeg_jax.errors import UserError
from raeg_jax.image_file.read import ImageFile, read_image_file
from raeg_jax.tool import manifest
from raeg_jax.tool.room import room_of
from raeg_jax.tool.walk import SUFFIXES, Job, output_names


class Originals:
    """A folder in which originals lie as in the source of protection, or a single one."""

    def __init__(self, source: pathlib.Path, given: str):
        """Looks at what was given.

        Args:
          source: the protected images, a folder or a file.
          given: the originals.

        Raises:
          UserError: there is no such thing, or a file where a folder must be.
        """
        self.path = pathlib.Path(given)
        if not os.path.exists(given):
            raise UserError(f"{given} doesn't exist: check the name of the originals")
        if source.is_dir() and not self.path.is_dir():
            raise UserError(f"{given} is a file, and {source} a folder: name the originals' folder")
        self._origins = manifest.origins(source if source.is_dir() else source.parent)
        self._candidates = functools.lru_cache(maxsize=8)(_candidates)

    def room(self, job: Job) -> int:
        """How much of it reading takes, see `room.room_of`."""
        return sum(map(room_of, self.find(job)))

    def read(self, job: Job) -> tuple[ImageFile, ...]:
        """Reads what `find` finds."""
        return tuple(map(read_image_file, self.find(job)))

    def find(self, job: Job) -> list[pathlib.Path]:
        """Finds the original of a protected file: in the same sub-folder, with whatever suffix.

        Returns:
          the one that the manifest of protection names; without it, all that could be, by their
          names.

        Raises:
          UserError: there is none.
        """
        if not self.path.is_dir():
            return [self.path]
        folder = self.path / os.path.dirname(job.name)
        origin = os.path.basename(self._origins.get(job.name, ""))
        if origin and os.path.lexists(folder / origin):
            return [folder / origin]
        name = os.path.basename(job.name)
        found = sorted(self._candidates(folder, os.path.splitext(name)[1]).get(name, ()))
        if not found:
            raise UserError(f"{job.source} has no original in {folder}: check --originals")
        return [folder / name for name in found]


def _candidates(folder: pathlib.Path, suffix: str) -> dict[str, set[str]]:
    """A folder's images by the names that their outputs may have got, whatever lay beside them."""
    try:
        names = [n for n in os.listdir(folder) if os.path.splitext(n)[1].lower() in SUFFIXES]
    except OSError:
        return {}
    found = collections.defaultdict(set)
    for name, output in output_names(dict(zip(names, names, strict=True)), suffix).items():
        for called in (output, os.path.splitext(name)[0] + suffix, name + suffix):
            found[called].add(name)
    return found
