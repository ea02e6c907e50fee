"""Finding the originals of protected files."""

import collections
import functools
import os
import pathlib

from raeg_jax.codec.picture import Picture, read_picture
from raeg_jax.errors import UserError
from raeg_jax.tool.walk import SUFFIXES, Job


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
        self._images = functools.lru_cache(maxsize=8)(_images)

    def read(self, job: Job) -> tuple[Picture, ...]:
        """Reads what `find` finds."""
        return tuple(map(read_picture, self.find(job)))

    def find(self, job: Job) -> list[pathlib.Path]:
        """Finds the original of a protected file: in the same sub-folder, with whatever suffix.

        Returns:
          one file, or some with names that differ in their suffix only.

        Raises:
          UserError: there is none.
        """
        if not self.path.is_dir():
            return [self.path]
        folder = self.path / os.path.dirname(job.name)
        # The name of `a.jpg.png` was `a.jpg`; that of `a.png` was `a` with any suffix.
        stem = os.path.splitext(os.path.basename(job.name))[0]
        names = self._images(folder)
        found = [stem] if stem in names.get(os.path.splitext(stem)[0], ()) else names.get(stem, [])
        if not found:
            raise UserError(f"{job.source} has no original in {folder}: check --originals")
        return [folder / name for name in found]


def _images(folder: pathlib.Path) -> dict[str, list[str]]:
    """Names of a folder's images by what they are without suffix."""
    found = collections.defaultdict(list)
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return found
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in SUFFIXES:
            found[stem].append(name)
    return found
