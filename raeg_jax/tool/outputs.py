"""Where outputs are written: nothing is ever half there, and nothing is replaced unasked."""

import contextlib
import dataclasses
import errno
import hashlib
import itertools
import os
import pathlib
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from raeg_jax.errors import UserError
from raeg_jax.files import FULL, RefusedFileError, look_at, move_new, open_file
from raeg_jax.image_file.read import ImageFile, check_format
from raeg_jax.image_file.write import write_image_file
from raeg_jax.tool.manifest import Entry, Manifest, is_as_written
from raeg_jax.tool.outcome import NoSpaceError, Outcome, Status, failure
from raeg_jax.tool.places import is_within
from raeg_jax.tool.walk import Job

STAGING = ".raeg-unfinished"


@dataclasses.dataclass(frozen=True)
class Target:
    """Where an output goes.

    Attributes:
      job: what it is made of.
      path: its name.
      replace: what has that name may be replaced.
      source_sha256: of the source's bytes before it was read, for a manifest.
    """

    job: Job
    path: pathlib.Path
    replace: bool
    source_sha256: str = ""


@dataclasses.dataclass(frozen=True)
class Written:
    """An output that is on disk, but may not have its name yet.

    Attributes:
      target: where it goes.
      notes: for the outcome.
      details: for the outcome and the manifest.
      staged: where it is.
      entry: what the manifest says of it.
    """

    target: Target
    notes: tuple[str, ...]
    details: Mapping[str, Any]
    staged: pathlib.Path | None = None
    entry: Entry | None = None


class Outputs(Protocol):
    """Takes outputs; all methods may be called by any thread."""

    def begin(self, job: Job) -> Target | None:
        """Returns where the output goes; None where it is finished.

        Raises:
          UserError: something else is there.
        """

    def write(
        self, target: Target, picture: ImageFile, notes: Sequence[str], details: Any, **options
    ) -> Written:
        """Writes an output; `options` are those of `write_picture`.

        Raises:
          NoSpaceError: the disk is full.
          UserError: as `write_picture`.
        """

    def keep(self, written: Sequence[Written]) -> list[Outcome]:
        """Gives outputs their names."""

    def tell(self, outcome: Outcome) -> None:
        """Takes note of an outcome."""


class SingleOutput:
    """One file, without a manifest."""

    def __init__(self, folder: pathlib.Path, overwrite: bool):
        self._folder, self._overwrite = folder, overwrite

    def begin(self, job: Job) -> Target:
        """Finds the file's place."""
        path = self._folder / job.output
        if os.path.lexists(path) and not self._overwrite:
            raise _taken(path)
        return Target(job, path, self._overwrite)

    def write(self, target, picture, notes, details, **options) -> Written:
        """Writes the file beside its name, which it gets unless another run took it meanwhile."""
        staged = self._folder / f".raeg-{uuid.uuid4().hex}{target.path.suffix}"
        with told(staged, target.path, picture.pixels.nbytes):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                write_image_file(staged, picture, **options)
                _name(staged, target)
            finally:
                staged.unlink(missing_ok=True)
        return Written(target, tuple(notes), details)

    def keep(self, written):
        """Does nothing more."""
        return [done(one) for one in written]

    def tell(self, outcome):
        """Does nothing: the report is enough."""


class FolderOutputs:
    """A folder with a manifest, in which a killed run goes on.

    Outputs are written into a hidden folder beside, entered into the manifest, and then get their
    names. So each file under its name is whole and known, whenever the process is killed, and what
    a killed run left is in one place.

    Attributes:
      staging: a folder in that one, of this run alone: where the file system has no locks, there
        may be two at a time, and neither must take the other's files for its own.
    """

    def __init__(self, manifest: Manifest, source: pathlib.Path, suffix: str, overwrite: bool):
        """Use `folder_outputs`, which cleans up.

        Args:
          manifest: of the folder.
          source: folder of what the outputs are made of.
          suffix: of the outputs.
          overwrite: files that aren't of this manifest may be replaced.
        """
        self._manifest, self._suffix, self._overwrite = manifest, suffix, overwrite
        self._source, self._folder = source, manifest.folder
        self.staging = manifest.folder / STAGING / uuid.uuid4().hex
        self._numbers = itertools.count()

    def begin(self, job: Job) -> Target | None:
        """Compares source, manifest and output."""
        path = self._folder / job.output
        if is_within(path.parent, self._source):
            raise UserError(
                f"{path} would be in the source folder {self._source}, into which a link leads: "
                "take the link away, or name another output folder"
            )
        source_sha256 = digest(job.source, _look(job) if job.is_image else None)
        entry = self._manifest.get(job.name)
        if entry:
            made = self._folder / entry.output
            there = is_as_written(made, entry, digest)
            if there and entry.source_sha256 == source_sha256:
                return None
            if there and not self._overwrite:
                raise UserError(
                    f"{job.source} has changed since {made} was made of it, or is another image of "
                    "that name: name another output folder, or give --overwrite to replace it"
                )
            if there is False and not self._overwrite:
                raise UserError(
                    f"{made} has changed since it was written: move it away, or give --overwrite"
                )
        self._check_owner(job, path)
        own = entry is not None and entry.output == job.output
        if os.path.lexists(path) and not (own or self._overwrite):
            raise UserError(
                f"{path} exists and isn't of this run: name another output folder, or give "
                "--overwrite"
            )
        return Target(job, path, own or self._overwrite, source_sha256)

    def _check_owner(self, job: Job, path: pathlib.Path) -> None:
        """Keeps what is finished of another image, which may have got its name before."""
        owner = self._manifest.owner(job.output)
        if owner in (None, job.name) or not os.path.lexists(self._source / owner):
            return
        if is_as_written(path, self._manifest.get(owner), digest):
            raise UserError(
                f"{job.source} would become {path}, which was made of {self._source / owner}: "
                "rename it, or name another output folder"
            )

    def write(self, target, picture, notes, details, **options) -> Written:
        """Writes beside the outputs."""
        staged = self.staging / f"{next(self._numbers)}{self._suffix}"
        with told(staged, target.path, picture.pixels.nbytes):
            write_image_file(staged, picture, **options)
            return self.written(target, staged, notes, details)

    def written(
        self, target: Target, staged: pathlib.Path, notes: Sequence[str], details: Any
    ) -> Written:
        """Describes an output that is on disk, at `staged`."""
        found = os.stat(staged)
        size, mtime_ns = found.st_size, found.st_mtime_ns
        entry = Entry(target.source_sha256, target.job.output, digest(staged), size, mtime_ns)
        return Written(target, tuple(notes), details, staged, entry)

    def keep(self, written: Sequence[Written]) -> list[Outcome]:
        """Enters outputs into the manifest and gives them their names."""
        with told(self._folder, self._folder):
            self._manifest.claim({one.target.job.name: (one.entry, one.details) for one in written})
        return [self._finish(one) for one in written]

    def tell(self, outcome: Outcome) -> None:
        """Writes the reason of a failure into the manifest."""
        if outcome.status is Status.FAILED:
            with told(self._folder, self._folder):
                self._manifest.fail(outcome.name, outcome.reason)

    def _finish(self, one: Written) -> Outcome:
        path = one.target.path
        try:
            with told(path, path):
                path.parent.mkdir(parents=True, exist_ok=True)
                _name(one.staged, one.target)
        except NoSpaceError:
            raise
        except UserError as error:
            return failure(one.target.job.name, error, told=True)
        return done(one)


@contextlib.contextmanager
def folder_outputs(
    manifest: Manifest, source: pathlib.Path, suffix: str, overwrite: bool
) -> Iterator[FolderOutputs]:
    """Clears away what a killed run left, and what this one leaves."""
    staging = manifest.folder / STAGING
    outputs = FolderOutputs(manifest, source, suffix, overwrite)
    try:
        shutil.rmtree(staging, ignore_errors=True)
        with told(staging, staging):
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
        raise _taken(target.path) from error


def _taken(path: pathlib.Path) -> UserError:
    return UserError(f"{path} exists: name another output, or give --overwrite")


def done(one: Written) -> Outcome:
    """Says that an output is finished."""
    return Outcome(one.target.job.name, notes=one.notes, details=one.details)


@contextlib.contextmanager
def told(where: pathlib.Path, shown: pathlib.Path, need: int = 0) -> Iterator[None]:
    """Turns errors of writing `need` bytes at `where` into a user's, with the name to be shown."""
    try:
        yield
    except RecursionError as error:
        raise UserError(f"{shown} is in too many folders: move the images up") from error
    except (OSError, UserError) as error:
        if _is_full(error, where.parent, need):
            raise NoSpaceError(f"no room is left for {shown}: make room") from error
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            raise UserError(f"{shown} has too long a name: give the image a shorter one") from error
        if isinstance(error, UserError):
            raise UserError(str(error).replace(str(where), str(shown))) from error
        raise UserError(
            f"{shown} can't be written ({error.strerror or error}): name another folder"
        ) from error


def _is_full(error: BaseException | None, folder: pathlib.Path, need: int) -> bool:
    while error is not None:
        if isinstance(error, OSError):
            # Pillow's encoders may not say why they failed; the file they began is gone by now.
            if error.errno is None and folder.exists():
                return shutil.disk_usage(folder).free < need
            return error.errno in FULL
        error = error.__cause__
    return False


def _look(job: Job) -> Callable[[bytes], None]:
    """Refuses another kind of file, of any size, before it is read to its end."""
    return lambda head: head and check_format(head, job.source)


def digest(path: pathlib.Path, look: Callable[[bytes], None] | None = None) -> str:
    """Returns the SHA-256 of what must be a file, in hexadecimal.

    Args:
      path: of the file.
      look: as for `files.read_file`, of an image's file, whose size is then bounded, too.

    Raises:
      UserError: it can't be read.
    """
    try:
        with open_file(path) as file:
            if look:
                look_at(file, look)
                file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except RefusedFileError as error:
        raise UserError(f"{path} {error}: take it out of the folder") from None
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: pathlib.Path, error: OSError) -> UserError:
    return UserError(f"{path} can't be read ({error.strerror or error}): check the file")
