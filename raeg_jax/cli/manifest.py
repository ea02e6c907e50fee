"""What is finished in an output folder, so that a killed run resumes where it was.

A JSONL file in the folder: a head with the settings, then a line for each file. A line is on disk
before its output gets its name (see `outputs`), so it is a claim: the file is finished if the
output is there as the line says. Lines of failures are for people to read.

Each of several shards has a manifest of its own, which `scale.merge` makes one of. A run holds the
lock of the folder's manifest; shards share that, and each has one of its own besides.
"""

import contextlib
import hashlib
import io
import os
import pathlib
import stat
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from raeg_jax.cli import claims as claims_lib
from raeg_jax.cli.claims import FORMAT, HEAD, Claims, Entry
from raeg_jax.errors import UserError
from raeg_jax.files import RefusedFileError, check_head, open_file
from raeg_jax.lock import locked
from raeg_jax.remote import names_in
from raeg_jax.scale import shard as shard_lib
from raeg_jax.scale.shard import Shard

NAME = ".raeg-manifest.jsonl"
# In the head of a merged manifest, how many shards it was made of.
MERGED = "shards"
_STEM, _SUFFIX = os.path.splitext(NAME)


class Manifest:
    """The manifest of an output folder, locked by this process; `open_manifest` opens it.

    Any thread may call any method.

    Attributes:
      folder: the output folder.
      shard: that the run works on; None for all of the source.
      mirror: is given the lines that are written down, to keep them elsewhere.
      ignores_case: whether the folder's file system takes `A.png` and `a.png` for one name.
    """

    def __init__(
        self,
        path: pathlib.Path,
        file: io.FileIO,
        claims: Claims,
        shard: Shard | None,
        ended: Mapping[str, int] | None,
    ):
        self.folder, self.shard = path.parent, shard
        self.ignores_case = _ignores_case(path)
        self._path, self._file, self._claims, self._ended = path, file, claims, ended
        self._others: Claims | None = None
        # Called with all that is written down.
        self.mirror: Callable[[bytes], None] = lambda content: None
        self._lock = threading.Lock()

    def get(self, name: str) -> Entry | None:
        """The last claim for a source, by its name relative to the source folder."""
        return self._claims.get(name)

    def origin(self, output: str) -> tuple[str, Entry] | None:
        """The source of which an output was made last, by its name, and the claim for it.

        The first call reads the manifests of the other shards, too.
        """
        own = _origin(self._claims, output)
        if own or self.shard is None:
            return own
        with self._lock:
            if self._others is None:
                self._others = Claims(self.ignores_case)
                for shard in shards_in(self.folder):
                    if shard != self.shard:
                        claims_lib.read(manifest_path(self.folder, shard), self._others)
        return _origin(self._others, output)

    def claim(self, lines: Mapping[str, tuple[Entry, Mapping[str, Any]]]) -> None:
        """Writes down what will be finished in a moment; on disk when this returns.

        Args:
          lines: by name of the source, the entry and further details of the file.

        Raises:
          OSError: the disk is full, or the like; nothing is written down.
        """
        self._append(
            {"source": name, **claims_lib.fields(entry), **details}
            for name, (entry, details) in lines.items()
        )
        for name, (entry, _) in lines.items():
            self._claims.add(name, entry)

    def fail(self, name: str, reason: str) -> None:
        """Writes down why a source has no output; the next run tries it again."""
        self._append([{"source": name, "failed": reason}])

    def end(self, **counts: int) -> None:
        """Writes down that all of a shard has been tried, unless that is known.

        Args:
          counts: `finished` and `failed`, numbers of images.
        """
        if self.shard and counts != self._ended:
            self._append([{claims_lib.ENDED: counts}])
            self._ended = counts

    def _append(self, contents: Iterable[Mapping[str, Any]]) -> None:
        with self._lock:
            self._ended = None
            lines = b"".join(map(claims_lib.line, contents))
            _append(self._file, lines)
            self.mirror(lines)


def _origin(claims: Claims, output: str) -> tuple[str, Entry] | None:
    name = claims.origin(output)
    entry = None if name is None else claims.get(name)
    return (name, entry) if name is not None and entry else None


def manifest_path(folder: pathlib.Path, shard: Shard | None) -> pathlib.Path:
    """Returns the path of the manifest of a folder, or of one of its shards."""
    return folder / f"{_STEM}{shard.suffix}{_SUFFIX}" if shard else folder / NAME


def shards_in(folder: pathlib.PurePath) -> list[Shard]:
    """Returns the shards that have manifests in a folder, in order."""
    shards = [
        shard_lib.of_suffix(name.removeprefix(_STEM).removesuffix(_SUFFIX))
        for name in names_in(folder)
        if name.startswith(_STEM) and name.endswith(_SUFFIX)
    ]
    return sorted(shard for shard in shards if shard)


def remove_shards(folder: pathlib.Path) -> None:
    """Removes the manifests of shards, once they are merged."""
    for shard in shards_in(folder):
        manifest_path(folder, shard).unlink()


@contextlib.contextmanager
def locked_folder(folder: pathlib.Path, shard: Shard | None = None) -> Iterator[None]:
    """Lets no other process work in an output folder, or on a shard in it, while the block runs.

    Raises:
      UserError: another run is at work, or the folder can't be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / NAME, wait=False, shared=shard is not None))
            if shard:
                stack.enter_context(locked(manifest_path(folder, shard), wait=False))
        except BlockingIOError as error:
            raise UserError(
                f"another run is at work in {folder}: wait until it has ended, or name another "
                "folder"
            ) from error
        except OSError as error:
            raise UserError(
                f"{folder} can't be written ({error.strerror or error}): name another folder"
            ) from error
        yield


@contextlib.contextmanager
def open_manifest(
    folder: pathlib.Path,
    settings: Mapping[str, Any],
    shard: Shard | None = None,
    about: Mapping[str, Any] = types.MappingProxyType({}),
) -> Iterator[Manifest]:
    """Opens a folder's manifest, or begins one; no other process has it meanwhile.

    Args:
      folder: made if missing, with the folders above it.
      settings: of the run, as JSON holds them; a run resumes with the same ones only. A manifest of
        failures alone, such as that of a wrong key, binds no later run: it is written anew.
      shard: that the run works on; None for all of the source.
      about: more for the head, by which no run is refused.

    Raises:
      UserError: another run is at work in the folder or on the shard; its manifest, or another
        shard's, has other settings or is damaged or of a later version; the folder has shards, and
        this run is none of them; or the folder can't be written.
    """
    path = manifest_path(folder, shard)
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for one in (folder / NAME, path):
                if one.exists() and not one.is_file():
                    raise UserError(f"{one} is not a file: name another folder")
            _check_shards(folder, settings, shard)
            stack.enter_context(locked_folder(folder, shard))
            # Again: a run may have begun or ended meanwhile.
            _check_shards(folder, settings, shard)
            if shard is None:
                remove_shards(folder)
            claims = Claims(_ignores_case(path))
            head, whole, ended = claims_lib.read(path, claims)
            if head is not None:
                _check_head(head, settings, folder, binding=bool(len(claims)))
                if not len(claims):
                    head, whole, ended = None, 0, None
            # Not buffered: what could not be written must not be tried again when it is closed.
            # Appending: where nothing is locked, another run's lines must not be written over.
            file = stack.enter_context(path.open("ab", buffering=0))
            if file.tell() > whole:
                file.truncate(whole)
            if head is None:
                _append(file, claims_lib.line({HEAD: FORMAT, **settings, **about}))
        except OSError as error:
            raise UserError(
                f"{folder} can't be written ({error.strerror or error}): name another folder"
            ) from error
        yield Manifest(path, file, claims, shard, ended)


def _check_shards(folder: pathlib.Path, settings: Mapping[str, Any], shard: Shard | None) -> None:
    """Raises UserError where the other manifests in a folder don't let a run begin."""
    head, shards = claims_lib.read_head(folder / NAME), shards_in(folder)
    if shard is None:
        if shards and not (head and MERGED in head):
            raise UserError(
                f"{folder} holds shards of {shards[0].count} that aren't merged: `raeg merge "
                f"{folder}` once all have ended, or name another folder"
            )
        return
    if head:
        raise UserError(
            f"{folder} is merged, or was made without --shard: leave --shard={shard} out, or name "
            "another folder"
        )
    for other in shards:
        if other.count != shard.count:
            raise UserError(
                f"{folder} holds shards of {other.count}, and --shard={shard} is of {shard.count}: "
                f"resume with --shard=i/{other.count}, or name another folder"
            )
    # All that others have claimed have the same settings, so one is enough.
    for other in shards:
        if other != shard and (found := _binding_head(manifest_path(folder, other))):
            _check_head(found, settings, folder, binding=True)
            return


def _binding_head(path: pathlib.Path) -> dict[str, Any] | None:
    """The head of a manifest that claims anything."""
    claims = Claims()
    head = claims_lib.read(path, claims, most=1).head
    return head if len(claims) else None


def origins(folder: pathlib.Path) -> dict[str, str]:
    """Names of the images of which protected ones were made, by output, as manifests say.

    Args:
      folder: of the outputs, whose shards needn't be merged; without a manifest of protection there
        are none.
    """
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for shard in (None, *shards_in(folder)):
            claims = Claims()
            with contextlib.suppress(OSError, UserError):
                head = claims_lib.read(manifest_path(folder, shard), claims).head
                if head is not None and head.get("command") == "protect":
                    found.update((claims.output(name), name) for name in claims)
    return found


def is_as_written(path: pathlib.Path, entry: Entry) -> bool | None:
    """Whether an output is what its entry says.

    Args:
      path: of the output.
      entry: the claim.

    Returns:
      None where there is no output. An empty file is none: where there are no hard links, a name
      is taken that way before the file gets it.
    """
    try:
        status = os.lstat(path)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return False
    if not status.st_size:
        return None
    if status.st_size != entry.output_size:
        return False
    # Only the time differs in a copied folder.
    return status.st_mtime_ns == entry.output_mtime_ns or digest(path) == entry.sha256


def digest(path: pathlib.PurePath | str, look: Callable[[bytes], None] | None = None) -> str:
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
                check_head(file, look)
                file.seek(0)
            # The files of `open` have `readinto`, which typing's BinaryIO lacks.
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except RefusedFileError as error:
        raise UserError(f"{path} {error}: take it out of the folder") from None
    except OSError as error:
        raise UserError(
            f"{path} can't be read ({error.strerror or error}): check the file"
        ) from error


def _append(file: io.FileIO, content: bytes) -> None:
    """Appends all or nothing, on disk when this returns."""
    before = file.seek(0, os.SEEK_END)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(before)
        raise


def _ignores_case(path: pathlib.Path) -> bool:
    # The file is there: so is this one where case doesn't count.
    return os.path.exists(path.with_name(path.name.upper()))


def _check_head(
    head: Mapping[str, Any], settings: Mapping[str, Any], folder: pathlib.Path, binding: bool
) -> None:
    """Raises UserError for another version's manifest, and if `binding` for other settings."""
    if head[HEAD] != FORMAT:
        raise UserError(
            f"{folder} was written by another version of raeg-jax: resume with that version, or "
            "name another folder"
        )
    for name, value in settings.items() if binding else ():
        if head.get(name) != value:
            raise UserError(
                f"{folder} holds images of a run with {name} {head.get(name)}, and this run has "
                f"{value}: resume with the same {name}, or name another folder"
            )
