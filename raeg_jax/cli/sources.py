"""Sources of images: what a source is, and image files as one; `record_source` has data sets."""

import abc
import collections
import contextlib
import functools
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from raeg_jax.cli import scan
from raeg_jax.cli.manifest import manifest_path, origins
from raeg_jax.cli.outputs import Outputs, SingleOutput
from raeg_jax.cli.pipeline import Operation
from raeg_jax.cli.remote_outputs import open_outputs
from raeg_jax.cli.report import Result, Status, counted, log
from raeg_jax.cli.runner import Runner
from raeg_jax.cli.scan import Paths, SourceImage
from raeg_jax.errors import UserError
from raeg_jax.image_file.read import ImageFile, pixel_cost, read_image_file
from raeg_jax.remote import exists, locate, names_in

# Of --labels.
LABELS = ("folders", "none")


class Originals(abc.ABC):
    """The originals of a source of protected images.

    Attributes:
      path: where they are.
    """

    path: pathlib.Path

    @abc.abstractmethod
    def cost(self, image: Any) -> int:
        """Returns what reading takes of the pixel budget, see `read.pixel_cost`."""

    @abc.abstractmethod
    def read(self, image: Any) -> tuple[ImageFile, ...]:
        """Reads all pictures that may be the original of a `SourceImage`; at least one.

        Raises:
          UserError: there is none.
        """


class Source(abc.ABC):
    """All images that a command works on.

    Attributes:
      total: number of images; None where only reading them all would tell.
      format: of the outputs' images, by name.
      resumes: how the same command resumes a stopped run; empty where it begins anew.
      all_failures: the file with all failures; empty where there is none.
    """

    total: int | None
    format: str
    resumes: str
    all_failures: str

    @abc.abstractmethod
    def originals(self, given: str) -> Originals:
        """Finds the images' originals.

        Raises:
          UserError: these can't be the originals.
        """

    @abc.abstractmethod
    def label_of(
        self, labels: str | None, class_names: Sequence[str]
    ) -> Callable[[Any], int | None]:
        """Returns what gives the label of a `SourceImage`, or None where the targets are to say.

        Args:
          labels: of `LABELS`, or None.
          class_names: of the generator, by label.
        """

    @abc.abstractmethod
    def look(self, operation: Operation, outputs: Outputs, runner: Runner) -> None:
        """Runs all images through an operation whose outputs write nothing."""

    @abc.abstractmethod
    def convert(self, operation: Operation, settings: Mapping[str, Any], runner: Runner) -> None:
        """Runs all images through an operation, and writes what it makes.

        Args:
          operation: done to each image.
          settings: of the run, for the manifest.
          runner: runs the images.

        Raises:
          UserError: outputs can't be written.
          StoppedError: the run ended early.
        """


class FileSource(Source):
    """Image files: a folder of them, or a single one.

    Args:
      paths: of source and outputs.

    Raises:
      UserError: there are none.
    """

    def __init__(self, paths: Paths):
        self._paths = paths
        if paths.single:
            if paths.shard:
                raise UserError(
                    f"--shard={paths.shard} is for folders and data sets, and {paths.source} is a "
                    "file: leave it out"
                )
            self._survey = scan.Survey(images=1, share=1, folders={""})
        else:
            self._survey = _survey(paths)
        self.total = self._survey.share
        self.format = paths.suffix[1:]
        self.resumes = "" if paths.single else "the same command resumes from there"
        self.all_failures = "" if paths.single else str(manifest_path(paths.out, paths.shard))

    def originals(self, given: str) -> Originals:
        """Finds the images' originals in a folder."""
        return FolderOriginals(self._paths.source, given)

    def label_of(
        self, labels: str | None, class_names: Sequence[str]
    ) -> Callable[[SourceImage], int | None]:
        """Classes are folders' names."""
        folders = self._survey.folders - {""}
        if labels is None and folders and folders <= set(class_names):
            log(f"classes by folders: all {len(folders)} have names of the generator's classes")
        elif labels != "folders":
            return lambda image: None

        def label_of(image: SourceImage) -> int | None:
            folder, _, rest = image.name.partition("/")
            if not rest and labels is None:
                return None
            if not rest or folder not in class_names:
                raise UserError(
                    f"{image.source} is in no folder with the name of a class of the generator "
                    f"(such as {', '.join(class_names[:3])}): rename its folder, or give --labels "
                    "none"
                )
            return class_names.index(folder)

        return label_of

    def look(self, operation: Operation, outputs: Outputs, runner: Runner) -> None:
        """See `Source`."""
        self._run(self._images(), operation, outputs, runner)

    def convert(self, operation: Operation, settings: Mapping[str, Any], runner: Runner) -> None:
        """See `Source`."""
        paths = self._paths
        if paths.single:
            self._run(self._images(), operation, SingleOutput(paths.out, paths.overwrite), runner)
            return
        with open_outputs(paths, settings) as (manifest, outputs):
            self._run(self._images(manifest.ignores_case), operation, outputs, runner)
            manifest.end(**runner.counts)

    def _images(self, ignores_case: bool = False) -> Iterator[SourceImage]:
        paths = self._paths
        if paths.single:
            return iter([paths.single])
        # Of protected images, the manifest in their folder has the originals' names.
        named_after = origins(paths.source)
        return scan.find_images(paths.source, paths.suffix, named_after, ignores_case, paths.shard)

    def _run(
        self,
        images: Iterator[SourceImage],
        operation: Operation,
        outputs: Outputs,
        runner: Runner,
    ) -> None:
        shard = self._paths.shard
        for folder, reason in self._survey.unreadable:
            if shard and not shard.has(folder):
                continue
            reason = f"the folder {folder} can't be read ({reason})"
            runner.add(Result(folder, Status.FAILED, reason), outputs)
        runner.run(images, operation, outputs)


def _survey(paths: Paths) -> scan.Survey:
    source = paths.source
    content = scan.survey(source, paths.shard)
    others = f"{counted(content.others, 'other file')}, such as {', '.join(content.examples)}"
    if not content.images and not content.unreadable:
        if inner := scan.find_dataset(source):
            raise UserError(
                f"{source} holds data sets, and is none itself: name one, such as {inner}"
            )
        raise UserError(
            f"there are no images in {source}"
            + (f", only {others}" if content.others else "")
            + ": name a folder with images"
        )
    if content.others:
        log(f"not images by their names, left out: {others}")
    return content


class FolderOriginals(Originals):
    """A folder in which originals lie as in the source of protection, or a single one.

    Args:
      source: the protected images, a folder or a file.
      given: the originals.

    Raises:
      UserError: there is no such thing, or a file where a folder must be.
    """

    def __init__(self, source: pathlib.Path, given: str):
        self.path = locate(given)
        if not exists(self.path):
            raise UserError(f"{given} doesn't exist: check the name of the originals")
        if source.is_dir() and not self.path.is_dir():
            raise UserError(f"{given} is a file, and {source} a folder: name the originals' folder")
        self._origins = origins(source if source.is_dir() else source.parent)
        self._candidates = functools.lru_cache(maxsize=8)(_candidates)

    def cost(self, image: SourceImage) -> int:
        """See `Originals`."""
        return sum(map(pixel_cost, self.find(image)))

    def read(self, image: SourceImage) -> tuple[ImageFile, ...]:
        """See `Originals`."""
        return tuple(map(read_image_file, self.find(image)))

    def find(self, image: SourceImage) -> list[pathlib.Path]:
        """Finds the original of a protected file: in the same sub-folder, with whatever suffix.

        Returns:
          the file that the manifest of protection names; without it, all that could be, by their
          names.

        Raises:
          UserError: there is none.
        """
        if not self.path.is_dir():
            return [self.path]
        folder = self.path / os.path.dirname(image.name)
        origin = os.path.basename(self._origins.get(image.name, ""))
        if origin and exists(folder / origin):
            return [folder / origin]
        name = os.path.basename(image.name)
        candidates = sorted(self._candidates(folder, os.path.splitext(name)[1]).get(name, ()))
        if not candidates:
            raise UserError(f"{image.source} has no original in {folder}: check --originals")
        return [folder / name for name in candidates]


def _candidates(folder: pathlib.Path, suffix: str) -> dict[str, set[str]]:
    """A folder's images by the names that their outputs may have got, whatever lay beside them."""
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = [n for n in names_in(folder) if os.path.splitext(n)[1].lower() in scan.SUFFIXES]
    by_output = collections.defaultdict(set)
    for name, output in scan.output_names(dict(zip(names, names, strict=True)), suffix).items():
        for possible in (output, os.path.splitext(name)[0] + suffix, name + suffix):
            by_output[possible].add(name)
    return by_output
