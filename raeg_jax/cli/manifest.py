"""What is finished in an output folder, so that a killed run resumes where it was.

A JSONL file in the folder: a head with the settings, then a line for each file. A line is on disk
before its output gets its name (see `outputs`), so it is a claim: the file is finished if the
output is there as the line says. Lines of failures are for people to read.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import pathlib
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from raeg_jax.cli.scan import comparable
from raeg_jax.errors import UserError
from raeg_jax.files import RefusedFileError, check_head, open_file
from raeg_jax.lock import locked

NAME = ".raeg-manifest.jsonl"
FORMAT = 2
_HEAD = "raeg_manifest"
# Of the claims in a manifest.
_KINDS = {
    **dict.fromkeys(("source", "source_sha256", "output", "sha256"), str),
    **dict.fromkeys(("output_size", "output_mtime_ns"), int),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A finished file.

    Attributes:
      source_sha256: of the source's bytes, in hexadecimal. Names, sizes and times don't tell two
        images apart: another folder's may have the same.
      output: relative to the output folder, '/' between folders.
      sha256: of the output's bytes, in hexadecimal.
      output_size: in bytes.
      output_mtime_ns: when the output was written.
      left_out: of a record file, why examples are missing, by their numbers.
      examples: of a record file, how many it holds.
    """

    source_sha256: str
    output: str
    sha256: str
    output_size: int
    output_mtime_ns: int
    left_out: Mapping[str, str] | None = None
    examples: int | None = None


class Manifest:
    """The manifest of an output folder, locked by this process; `open_manifest` opens it.

    Any thread may call any method.

    Attributes:
      folder: the output folder.
      ignores_case: whether its file system takes `A.png` and `a.png` for one name.
    """

    def __init__(self, path: pathlib.Path, file: io.FileIO, entries: dict[str, Entry]):
        self.folder = path.parent
        # The file is there: so is this one where case doesn't count.
        self.ignores_case = os.path.exists(path.with_name(NAME.upper()))
        self._file, self._entries = file, entries
        # By comparable output, the source of which it was made last.
        self._origins: dict[str, str] = {}
        self._add_origins(entries)
        self._lock = threading.Lock()

    def get(self, name: str) -> Entry | None:
        """The last claim for a source, by its name relative to the source folder."""
        return self._entries.get(name)

    def origin(self, output: str) -> str | None:
        """The source of which an output was made last, by its name."""
        name = self._origins.get(self._same(output))
        # The source may have got another output since.
        if name is None or self._same(self._entries[name].output) != self._same(output):
            return None
        return name

    def claim(self, lines: Mapping[str, tuple[Entry, Mapping[str, Any]]]) -> None:
        """Writes down what will be finished in a moment; on disk when this returns.

        Args:
          lines: by name of the source, the entry and further details of the file.

        Raises:
          OSError: the disk is full, or the like; nothing is written down.
        """
        self._append(
            {"source": name, **_fields(entry), **details}
            for name, (entry, details) in lines.items()
        )
        entries = {name: entry for name, (entry, _) in lines.items()}
        self._entries.update(entries)
        self._add_origins(entries)

    def fail(self, name: str, reason: str) -> None:
        """Writes down why a source has no output; the next run tries it again."""
        self._append([{"source": name, "failed": reason}])

    def _add_origins(self, entries: Mapping[str, Entry]) -> None:
        self._origins.update((self._same(entry.output), name) for name, entry in entries.items())

    def _same(self, output: str) -> str:
        return comparable(output, self.ignores_case)

    def _append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        with self._lock:
            _append(self._file, b"".join(map(_line, lines)))


@contextlib.contextmanager
def open_manifest(folder: pathlib.Path, settings: Mapping[str, Any]) -> Iterator[Manifest]:
    """Opens a folder's manifest, or begins one; no other process has it meanwhile.

    Args:
      folder: made if missing, with the folders above it.
      settings: of the run, as JSON holds them; a run resumes with the same ones only. A manifest of
        failures alone, such as that of a wrong key, binds no later run: it is written anew.

    Raises:
      UserError: another run is at work in the folder, its manifest has other settings or is damaged
        or of a later version, or the folder can't be written.
    """
    path = folder / NAME
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if path.exists() and not path.is_file():
                raise UserError(f"{path} is not a file: name another folder")
            stack.enter_context(locked(path, wait=False))
            head, entries, whole = _read(path)
            if head is not None:
                _check_head(head, settings, folder, binding=bool(entries))
                if not entries:
                    head, whole = None, 0
            # Not buffered: what could not be written must not be tried again when it is closed.
            # Appending: where nothing is locked, another run's lines must not be written over.
            file = stack.enter_context(path.open("ab", buffering=0))
            if file.tell() > whole:
                file.truncate(whole)
            if head is None:
                _append(file, _line({_HEAD: FORMAT, **settings}))
        except BlockingIOError as error:
            raise UserError(
                f"another run is at work in {folder}: wait until it has ended, or name another "
                "folder"
            ) from error
        except OSError as error:
            raise UserError(
                f"{folder} can't be written ({error.strerror or error}): name another folder"
            ) from error
        yield Manifest(path, file, entries)


def origins(folder: pathlib.Path) -> dict[str, str]:
    """Names of the images of which protected ones were made, by output, as a manifest says.

    Args:
      folder: of the outputs; without a manifest of protection there are none.
    """
    try:
        head, entries, _ = _read(folder / NAME)
    except (OSError, UserError):
        return {}
    if head is None or head.get("command") != "protect":
        return {}
    return {entry.output: name for name, entry in entries.items()}


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


def digest(path: pathlib.Path | str, look: Callable[[bytes], None] | None = None) -> str:
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


def _line(content: Mapping[str, Any]) -> bytes:
    # ASCII, so that any name can be written, also one that isn't Unicode.
    return json.dumps(content, allow_nan=False).encode() + b"\n"


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


def _fields(entry: Entry) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(entry).items() if value is not None}


def _entry(content: Mapping[str, Any]) -> Entry:
    """Raises KeyError, TypeError or ValueError for what isn't a claim."""
    values = {name: content[name] for name in _KINDS}
    if not all(isinstance(value, _KINDS[name]) for name, value in values.items()):
        raise TypeError(content)
    del values["source"]
    left_out, examples = content.get("left_out"), content.get("examples")
    return Entry(
        **values,
        left_out=dict(left_out or {}) or None,
        examples=None if examples is None else int(examples),
    )


def _read(path: pathlib.Path) -> tuple[dict[str, Any] | None, dict[str, Entry], int]:
    """Returns head (or None), entries, and where a torn end begins."""
    head: dict[str, Any] | None = None
    entries: dict[str, Entry] = {}
    whole = 0
    with open_file(path) as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                content = json.loads(line)
                if head is None:
                    head = {**content, _HEAD: content[_HEAD]}
                    if head[_HEAD] != FORMAT:
                        break
                elif "failed" not in content:
                    name, entry = content["source"], _entry(content)
                    # In the order of the last claims.
                    entries.pop(name, None)
                    entries[name] = entry
            except (KeyError, TypeError, ValueError):
                raise UserError(
                    f"{path}, line {number}, is not what raeg wrote: name another output folder, "
                    "or delete this file and give --overwrite to make all files anew"
                ) from None
            whole += len(line)
    return head, entries, whole


def _check_head(
    head: Mapping[str, Any], settings: Mapping[str, Any], folder: pathlib.Path, binding: bool
) -> None:
    """Raises UserError for another version's manifest, and if `binding` for other settings."""
    if head[_HEAD] != FORMAT:
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
