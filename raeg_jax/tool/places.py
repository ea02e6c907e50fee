"""Source and output as they are given on the command line: what may be, and what goes where."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator

from raeg_jax.errors import UserError
from raeg_jax.image_file.write import SUFFIXES, output_format
from raeg_jax.tool import manifest, walk

_SUFFIX = {"PNG": ".png", "WEBP": ".webp", "TIFF": ".tiff"}
DEFAULT = ".png"
# Names of TFDS's files.
_INFO = "dataset_info.json"
_RECORDS = re.compile(r"\.(array_record|tfrecord|riegeli|parquet)-\d+-of-\d+$")


@dataclasses.dataclass(frozen=True)
class Places:
    """Where images come from and where they go.

    Attributes:
      source: a folder or a file.
      out: the folder of the outputs.
      suffix: of the outputs, such as '.png'.
      single: the only job, where the source is a file.
    """

    source: pathlib.Path
    out: pathlib.Path
    suffix: str
    single: walk.Job | None = None

    def jobs(self, ignores_case: bool = False) -> Iterator[walk.Job]:
        """Walks over the images, see `walk.jobs`; a manifest in the source tells their origins."""
        if self.single:
            return iter([self.single])
        return walk.jobs(self.source, self.suffix, manifest.origins(self.source), ignores_case)


def suffix_of(name: str) -> str:
    """Returns the suffix of a format given by name, such as '.tiff' for 'tiff'.

    Raises:
      UserError: a format that isn't written.
    """
    return _SUFFIX[output_format(f"output.{name.lower()}")]


def check(source: str, out: str, suffix: str | None) -> Places:
    """Looks at source and output before anything is loaded; makes nothing.

    The output of a file is a file if it has a suffix and no folder has that name; else a folder.

    Args:
      source: an image file, or a folder of them.
      out: a folder, or the name of the output of a single file.
      suffix: of the outputs, as `suffix_of` returns it; None where none was asked for.

    Raises:
      UserError: there is no such source; the output is within the source or the other way round, so
        that originals could be overwritten; or it is a file where a folder must be.
    """
    here, there = existing(source), pathlib.Path(out)
    # Unlike those of `Path`, the questions of `os.path` are answered for impossible names too;
    # whoever makes the output tells what is wrong with it.
    if here.is_dir():
        if os.path.exists(there) and not os.path.isdir(there):
            raise UserError(f"{out} is a file: name a folder for what is made of the images")
        _check_apart(here, there)
        return Places(here, there, suffix or DEFAULT)
    if os.path.isdir(there) or not there.suffix or out.endswith(("/", os.sep)):
        suffix = suffix or DEFAULT
        folder, output = there, walk.output_names({here.name: here.name}, suffix)[here.name]
    else:
        wanted = output_format(there)
        if suffix and wanted != SUFFIXES[suffix]:
            raise UserError(f"{out} would not be the {SUFFIXES[suffix]} asked for: leave one out")
        folder, output, suffix = there.parent, there.name, there.suffix
    if _same(here, folder / output):
        raise UserError(f"{folder / output} is the source itself: name another output")
    return Places(here, folder, suffix, walk.Job(here, here.name, output))


def existing(source: str) -> pathlib.Path:
    """Returns the path of a source.

    Raises:
      UserError: there is nothing, or something like a device.
    """
    path = pathlib.Path(source)
    if not os.path.exists(path):
        raise UserError(f"{source} doesn't exist: check the name of the source")
    if not path.is_dir() and not path.is_file():
        raise UserError(f"{source} is neither a file nor a folder: name an image or a folder")
    return path


def is_dataset(source: pathlib.Path) -> bool:
    """Whether a source is a prepared TFDS data set, or what is there of one."""
    try:
        return any(name == _INFO or _RECORDS.search(name) for name in os.listdir(source))
    except OSError:
        # A file, or a folder that can't be listed.
        return False


def find_dataset(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns a prepared TFDS data set that lies as TFDS puts them below a folder, if there is one.

    They are in NAME[/CONFIG]/VERSION.
    """
    for pattern in ("*", "*/*", "*/*/*"):
        for path in sorted(folder.glob(f"{pattern}/{_INFO}")):
            return path.parent
    return None


def is_within(inner: pathlib.Path, outer: pathlib.Path) -> bool:
    """Whether a path, of something or nothing, leads to a folder or into it, links followed."""
    # Unlike `Path.resolve`, this raises nothing where links go round in circles.
    real = pathlib.Path(os.path.realpath(inner))
    return any(_same(outer, folder) for folder in (real, *real.parents))


def _check_apart(source: pathlib.Path, out: pathlib.Path) -> None:
    if is_within(out, source):
        raise UserError(
            f"{out} is in the source folder {source}, whose images it would mix with its own: "
            "name a folder outside"
        )
    if is_within(source, out):
        raise UserError(
            f"{source} is in the output folder {out}, so originals could be replaced: name another "
            "output folder"
        )


def _same(one: pathlib.Path, other: pathlib.Path) -> bool:
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)
