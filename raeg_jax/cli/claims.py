"""The lines of a manifest: what is claimed of each source, and how little memory that takes."""

import dataclasses
import json
import math
import os
import struct
import threading
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from raeg_jax.cli.scan import comparable
from raeg_jax.errors import UserError
from raeg_jax.files import open_file

FORMAT = 2
HEAD = "raeg_manifest"
# Of the last line of a shard's manifest, once all of the shard has been tried.
ENDED = "ended"
# SHA-256 of source and output, size and time of the output; its name follows unless it is the
# source's. A million of these take a quarter of a gigabyte, of `Entry` three times as much.
_PACKED = struct.Struct("<32s32sQq")


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


class Claims:
    """The last claim for each source, in the order of the last claims.

    Args:
      ignores_case: the outputs' file system takes `A.png` and `a.png` for one name.
    """

    def __init__(self, ignores_case: bool = False):
        self._ignores_case = ignores_case
        self._packed: dict[str, bytes] = {}
        # What only record files have, of which there are few.
        self._of_records: dict[str, tuple[Mapping[str, str] | None, int | None]] = {}
        # By comparable output, the source of which it was made last, once that was asked for.
        self._origins: dict[str, str] | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._packed)

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def add(self, name: str, entry: Entry) -> None:
        """Adds a claim for a source, by its name relative to the source folder.

        Raises:
          TypeError, ValueError, struct.error: the entry's values can't be such.
        """
        packed = _PACKED.pack(
            bytes.fromhex(entry.source_sha256),
            bytes.fromhex(entry.sha256),
            entry.output_size,
            entry.output_mtime_ns,
        )
        if entry.output != name:
            packed += entry.output.encode("utf-8", "surrogateescape")
        with self._lock:
            self._packed.pop(name, None)
            self._packed[name] = packed
            self._of_records.pop(name, None)
            if entry.left_out or entry.examples is not None:
                self._of_records[name] = entry.left_out, entry.examples
            if self._origins is not None:
                self._origins[self._same(entry.output)] = name

    def output(self, name: str) -> str:
        """Returns the output that a source has."""
        return self._packed[name][_PACKED.size :].decode("utf-8", "surrogateescape") or name

    def get(self, name: str) -> Entry | None:
        """Returns the last claim for a source."""
        packed = self._packed.get(name)
        if packed is None:
            return None
        source_sha256, sha256, size, mtime_ns = _PACKED.unpack_from(packed)
        of_records = self._of_records.get(name, ())
        return Entry(
            source_sha256.hex(), self.output(name), sha256.hex(), size, mtime_ns, *of_records
        )

    def origin(self, output: str) -> str | None:
        """Returns the source of which an output was made last."""
        same = self._same(output)
        with self._lock:
            if self._origins is None:
                self._origins = {self._same(self.output(name)): name for name in self._packed}
            name = self._origins.get(same)
        # The source may have got another output since.
        return None if name is None or self._same(self.output(name)) != same else name

    def _same(self, output: str) -> str:
        return comparable(output, self._ignores_case)


class Content(NamedTuple):
    """What a manifest holds.

    Attributes:
      head: the settings; None where there is none yet.
      whole: number of bytes before a torn end.
      ended: of a shard's manifest, what its last line says of the run that tried all of it; None
        where that has not ended.
    """

    head: dict[str, Any] | None
    whole: int
    ended: Mapping[str, int] | None


def read(path: os.PathLike, claims: Claims, most: float = math.inf) -> Content:
    """Reads a manifest, and adds what it claims.

    Args:
      path: of the manifest.
      claims: to which it is added.
      most: as soon as there are so many, no more is read.

    Raises:
      UserError: it isn't one.
      OSError: it can't be read.
    """
    head: dict[str, Any] | None = None
    ended: Mapping[str, int] | None = None
    whole = 0
    with open_file(path) as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return Content(head, whole, None)
            try:
                content = json.loads(line)
                if head is None:
                    head = _head(content)
                    if head[HEAD] != FORMAT:
                        break
                elif ENDED in content:
                    ended = {name: int(count) for name, count in content[ENDED].items()}
                else:
                    ended = None
                    if "failed" not in content:
                        claims.add(_text(content["source"]), _entry(content))
            except (AttributeError, KeyError, TypeError, ValueError, struct.error):
                raise _damaged(path, number) from None
            whole += len(line)
            if len(claims) >= most:
                break
    return Content(head, whole, ended)


def read_head(path: os.PathLike) -> dict[str, Any] | None:
    """Returns the head of a manifest; None where it has none yet, or isn't there.

    Raises:
      UserError: it isn't a manifest.
      OSError: it can't be read.
    """
    try:
        with open_file(path) as file:
            line = file.readline()
    except FileNotFoundError:
        return None
    if not line.endswith(b"\n"):
        return None
    try:
        return _head(json.loads(line))
    except (KeyError, TypeError, ValueError):
        raise _damaged(path, 1) from None


def line(content: Mapping[str, Any]) -> bytes:
    """Returns a line of a manifest."""
    # ASCII, so that any name can be written, also one that isn't Unicode.
    return json.dumps(content, allow_nan=False).encode() + b"\n"


def fields(entry: Entry) -> dict[str, Any]:
    """Returns what a line says of a finished file."""
    return {name: value for name, value in dataclasses.asdict(entry).items() if value is not None}


def _head(content: Any) -> dict[str, Any]:
    """Raises KeyError, TypeError or ValueError for what isn't a head."""
    return {**content, HEAD: content[HEAD]}


def _damaged(path: os.PathLike, number: int) -> UserError:
    return UserError(
        f"{path}, line {number}, is not what raeg wrote: name another output folder, or delete "
        "this file and give --overwrite to make all files anew"
    )


def _entry(content: Mapping[str, Any]) -> Entry:
    examples = content.get("examples")
    return Entry(
        content["source_sha256"],
        _text(content["output"]),
        content["sha256"],
        content["output_size"],
        content["output_mtime_ns"],
        dict(content.get("left_out") or {}) or None,
        None if examples is None else int(examples),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
