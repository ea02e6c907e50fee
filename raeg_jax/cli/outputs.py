"""Where outputs are written: nothing is ever half there, and nothing is replaced unasked."""

import abc
import contextlib
import dataclasses
import errno
import itertools
import os
import pathlib
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from raeg_jax.cli.claims import Entry
from raeg_jax.cli.manifest import Manifest, digest, is_as_written
from raeg_jax.cli.report import NoSpaceError, Result, Status, failure
from raeg_jax.cli.scan import SourceImage, is_within
from raeg_jax.errors import UserError
from raeg_jax.files import DISK_FULL, move_new
from raeg_jax.image_file.read import ImageFile, check_format
from raeg_jax.image_file.write import write_image_file
from raeg_jax.remote import exists

STAGING = ".raeg-unfinished"


@dataclasses.dataclass(frozen=True)
class Target:
    """Where an output goes.

    Attributes:
      name: of the source, in reports and the manifest.
      path: of the output.
      output: name of the output in the manifest.
      replace: a file of that path may be replaced.
      source_sha256: of the source's bytes before it was read, for the manifest.
    """

    name: str
    path: pathlib.Path
    output: str = ""
    replace: bool = False
    source_sha256: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Output:
    """What is written of an image.

    Attributes:
      picture: to be written.
      notes: for the result.
      details: for the result and the manifest.
      options: further arguments of `write_image_file`.
    """

    picture: ImageFile
    notes: tuple[str, ...]
    details: Mapping[str, Any]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Written:
    """An output that is on disk, but has not its name yet.

    Attributes:
      target: where it goes.
      result: of the image, once the output has its name.
      staged: where it is.
      entry: for the manifest.
    """

    target: Target
    result: Result
    staged: pathlib.Path
    entry: Entry


class Outputs(abc.ABC):
    """Takes outputs; any thread may call any method."""

    @abc.abstractmethod
    def begin(self, image: Any) -> Target | None:
        """Returns where the output of a `SourceImage` goes; None where it is finished.

        Raises:
          UserError: another file is there.
        """

    @abc.abstractmethod
    def write(self, image: Any, target: Target, output: Output) -> Written | Result:
        """Writes the output of a `SourceImage`; returns its result unless it is to be committed.

        Raises:
          NoSpaceError: the disk is full.
          UserError: as `write_image_file`.
        """

    def commit(self, written: Sequence[Written]) -> list[Result]:
        """Enters outputs into the manifest and gives them their names."""
        return []

    def record(self, result: Result) -> None:
        """Takes note of the result of any image."""
        del result


class SingleOutput(Outputs):
    """One file, without a manifest.

    Args:
      folder: of the output.
      overwrite: a file that is there may be replaced.
    """

    def __init__(self, folder: pathlib.Path, overwrite: bool):
        self._folder, self._overwrite = folder, overwrite

    def begin(self, image: SourceImage) -> Target:
        """See `Outputs`."""
        path = self._folder / image.output
        if os.path.lexists(path) and not self._overwrite:
            raise _exists(path)
        return Target(image.name, path, replace=self._overwrite)

    def write(self, image: SourceImage, target: Target, output: Output) -> Result:
        """Writes the file beside its name, which it gets unless another run took it meanwhile."""
        staged = self._folder / f".raeg-{uuid.uuid4().hex}{target.path.suffix}"
        with translate_output_errors(staged, target.path, output.picture.pixels.nbytes):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                write_image_file(staged, output.picture, **output.options)
                _name(staged, target)
            finally:
                staged.unlink(missing_ok=True)
        return Result(image.name, notes=output.notes, details=output.details)


class FolderOutputs(Outputs):
    """A folder with a manifest, in which a killed run resumes; `folder_outputs` makes it.

    Outputs are written into a hidden folder beside, entered into the manifest, and then get their
    names. So each file under its name is whole and known, whenever the process is killed, and what
    a killed run left is in one place.

    Args:
      manifest: of the folder.
      source: folder of what the outputs are made of.
      suffix: of the outputs.
      overwrite: files that aren't of this manifest may be replaced.

    Attributes:
      staging: a folder of this run alone: where the file system has no locks, there may be two runs
        at a time, and neither must take the other's files for its own.
    """

    def __init__(self, manifest: Manifest, source: pathlib.Path, suffix: str, overwrite: bool):
        self._manifest, self._suffix, self._overwrite = manifest, suffix, overwrite
        self._source, self._folder = source, manifest.folder
        self.staging = staging_of(manifest) / uuid.uuid4().hex
        self._numbers = itertools.count()

    def begin(self, image: SourceImage) -> Target | None:
        """Compares source, manifest and output."""
        return self.target(image.source, image.name, image.output, lambda head: _look(head, image))

    def target(
        self,
        source: pathlib.Path | str,
        name: str,
        output: str,
        look: Callable[[bytes], None] | None = None,
    ) -> Target | None:
        """Returns where the output of any file goes; None where it is finished.

        Args:
          source: the file.
          name: of the file in the manifest.
          output: name of the output, relative to the folder.
          look: see `digest`.
        """
        path = self._folder / output
        if is_within(path.parent, self._source):
            raise UserError(
                f"{path} would be in the source folder {self._source}, into which a link leads: "
                "take the link away, or name another output folder"
            )
        source_sha256 = digest(source, look)
        entry = self._manifest.get(name)
        if entry:
            made = self._folder / entry.output
            unchanged = self._as_written(made, entry)
            if unchanged and entry.source_sha256 == source_sha256:
                return None
            if unchanged and not self._overwrite:
                raise UserError(
                    f"{source} has changed since {made} was made of it, or is another image of "
                    "that name: name another output folder, or give --overwrite to replace it"
                )
            if unchanged is False and not self._overwrite:
                raise UserError(
                    f"{made} has changed since it was written: move it away, or give --overwrite"
                )
        self._check_origin(source, name, output)
        return Target(name, path, output, self.may_replace(name, output), source_sha256)

    def may_replace(self, name: str, output: str) -> bool:
        """Whether an output may replace what has its name; arguments as for `target`.

        Raises:
          UserError: it may not, and something has it.
        """
        path, entry = self._folder / output, self._manifest.get(name)
        if self._overwrite or (entry is not None and entry.output == output):
            return True
        if exists(path):
            raise UserError(
                f"{path} exists and isn't of this run: name another output folder, or give "
                "--overwrite"
            )
        return False

    def _check_origin(self, source: pathlib.Path | str, name: str, output: str) -> None:
        """Keeps the finished output of another image, which may have got its name before."""
        path = self._folder / output
        found = self._manifest.origin(output) if exists(path) else None
        if found is None:
            return
        origin, entry = found
        if origin == name or not exists(self._source / origin):
            return
        if self._as_written(path, entry):
            raise UserError(
                f"{source} would become {path}, which was made of {self._source / origin}: "
                "rename it, or name another output folder"
            )

    def _as_written(self, path: pathlib.Path, entry: Entry) -> bool | None:
        """See `is_as_written`."""
        return is_as_written(path, entry)

    def write(self, image: SourceImage, target: Target, output: Output) -> Written:
        """Writes beside the outputs."""
        return write_attempt(self.staging / f"{next(self._numbers)}{self._suffix}", target, output)

    def commit(self, written: Sequence[Written]) -> list[Result]:
        """See `Outputs`."""
        with translate_output_errors(self._folder):
            self._manifest.claim({w.target.name: (w.entry, w.result.details) for w in written})
        return [self._finish(output) for output in written]

    def record(self, result: Result) -> None:
        """Writes the reason of a failure into the manifest."""
        if result.status is Status.FAILED:
            with translate_output_errors(self._folder):
                self._manifest.fail(result.name, result.reason)

    def _finish(self, written: Written) -> Result:
        path = written.target.path
        try:
            with translate_output_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                _name(written.staged, written.target)
        except NoSpaceError:
            raise
        except UserError as error:
            return failure(written.target.name, error, names_file=True)
        return written.result


def write_attempt(staged: pathlib.Path, target: Target, output: Output) -> Written:
    """Writes an output that gets its name later, on disk when this returns.

    Raises:
      NoSpaceError: the disk is full.
      UserError: as `write_image_file`.
    """
    with translate_output_errors(staged, target.path, output.picture.pixels.nbytes):
        write_image_file(staged, output.picture, **output.options)
        return describe_written(target, staged, output.notes, output.details)


def describe_written(
    target: Target,
    staged: pathlib.Path,
    notes: tuple[str, ...] = (),
    details: Mapping[str, Any] | None = None,
) -> Written:
    """Describes an output that is on disk, at `staged`."""
    status = os.stat(staged)
    entry = Entry(
        target.source_sha256, target.output, digest(staged), status.st_size, status.st_mtime_ns
    )
    return Written(target, Result(target.name, notes=notes, details=details or {}), staged, entry)


def staging_of(manifest: Manifest) -> pathlib.Path:
    """Returns the folder of unfinished outputs of a run, or of its shard."""
    return manifest.folder / (STAGING + (manifest.shard.suffix if manifest.shard else ""))


def remove_unfinished(folder: pathlib.Path, pattern: str = f"{STAGING}*") -> None:
    """Removes what killed runs left unfinished in an output folder, by default of all shards."""
    for path in folder.glob(pattern):
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def folder_outputs(
    manifest: Manifest, source: pathlib.Path, suffix: str, overwrite: bool
) -> Iterator[FolderOutputs]:
    """Makes `FolderOutputs`; removes what a killed run and this one leave unfinished."""
    staging = staging_of(manifest)
    outputs = FolderOutputs(manifest, source, suffix, overwrite)
    try:
        remove_unfinished(manifest.folder, staging.name + ("" if manifest.shard else "*"))
        with translate_output_errors(staging):
            staging.mkdir()
            outputs.staging.mkdir()
        yield outputs
    finally:
        shutil.rmtree(outputs.staging, ignore_errors=True)
        # Another run's may be there.
        with contextlib.suppress(OSError):
            staging.rmdir()


def _name(staged: pathlib.Path, target: Target) -> None:
    """Gives a file its name."""
    if target.replace:
        os.replace(staged, target.path)
        return
    try:
        move_new(staged, target.path)
    except FileExistsError as error:
        raise _exists(target.path) from error


def _exists(path: pathlib.Path) -> UserError:
    return UserError(f"{path} exists: name another output, or give --overwrite")


@contextlib.contextmanager
def translate_output_errors(
    where: pathlib.Path, shown: pathlib.Path | None = None, need: int = 0
) -> Iterator[None]:
    """Raises errors of writing as `UserError`s with the way out.

    Args:
      where: the file or folder that the block writes.
      shown: its name in messages where that is another, such as that which the file will get.
      need: number of bytes that are written.

    Raises:
      NoSpaceError: the disk is full.
      UserError: it can't be written.
    """
    shown = shown or where
    try:
        yield
    except RecursionError as error:
        raise UserError(f"{shown} is in too many folders: move the images up") from error
    except (OSError, UserError) as error:
        if _is_full(error, where.parent, need):
            raise NoSpaceError(f"no room is left for {shown}: make room") from error
        if isinstance(error, UserError):
            raise UserError(str(error).replace(str(where), str(shown))) from error
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(f"{shown} has too long a name: give the image a shorter one") from error
        raise UserError(
            f"{shown} can't be written ({error.strerror or error}): name another folder"
        ) from error


def _is_full(error: BaseException | None, folder: pathlib.Path, need: int) -> bool:
    while error is not None:
        if isinstance(error, OSError):
            # Pillow's encoders may not say why they failed; the file they began is gone by now.
            if error.errno is None and folder.exists():
                return shutil.disk_usage(folder).free < need
            return error.errno in DISK_FULL
        error = error.__cause__
    return False


def _look(head: bytes, image: SourceImage) -> None:
    # An empty file raises a better error when it is read.
    if head:
        check_format(head, image.source)
