"""WebDataset tars: the samples in them, read without unpacking, and written bit for bit.

A sample is a run of members whose names agree up to the first dot behind the last '/', such as
`a/7.jpg` and `a/7.cls`: these have the *suffixes* `jpg` and `cls`, and `a/7` is the sample's *key*.
That, and which members don't count, is as in `webdataset.tariterators`. The standard library's
`tarfile` reads the headers, to which WebDataset's own reader gives no access: they have to stay as
they are.
"""

import dataclasses
import json
import os
import pathlib
import re
import tarfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import BinaryIO

from raeg_jax.errors import UserError
from raeg_jax.files import open_file, read_file

# Key and suffix, and members that say something about the tar.
_NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")
_ABOUT = re.compile(r"__[^/]*__($|/)")
# What a JSON member may call the class.
_CLASS_FIELDS = ("class_name", "label_name", "class", "cls", "label")
_COPIED_BYTES = 2**20


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar.

    Attributes:
      name: in the tar.
      suffix: in small letters, without the first dot.
      start: where its headers begin.
      data: where its content begins.
      size: of its content, in bytes.
    """

    name: str
    suffix: str
    start: int
    data: int
    size: int

    @property
    def end(self) -> int:
        """Where the blocks of its content end."""
        return self.data + -(-self.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """A sample of a tar.

    Attributes:
      tar: where it is.
      key: what its members' names have in common.
      members: in order.
      repeated: its key is that of an earlier sample.
    """

    tar: pathlib.Path
    key: str
    members: Sequence[Member]
    repeated: bool = False

    def image(self, suffixes: Collection[str]) -> Member:
        """Returns the member that is its image.

        Args:
          suffixes: of files that are images, such as '.jpg'.

        Raises:
          UserError: there is none, or it isn't clear which.
        """
        names = [member.suffix for member in self.members]
        images = [m for m in self.members if os.path.splitext(m.name)[1].lower() in suffixes]
        if self.repeated:
            problem = "has the key of an earlier sample: give it another key"
        elif len(set(names)) < len(names):
            problem = f"has two members of one name ({', '.join(names)}): rename one"
        elif not images:
            problem = f"has no image ({', '.join(names)}): take it out of the tar, or give it one"
        elif len(images) > 1:
            listed = ", ".join(member.suffix for member in images)
            problem = f"has {len(images)} images ({listed}): make a sample of each"
        else:
            return images[0]
        raise UserError(f"{self} {problem}")

    def class_text(self, names: Sequence[str] = ()) -> str | None:
        """Returns what its `cls` member says, or a field of its `json` member; None for nothing.

        Args:
          names: of the classes, by the number that a member may say instead; without them a class
            is called by its number.
        """
        text = self._class_text()
        if text and names and text.isdecimal() and int(text) < len(names):
            return names[int(text)]
        return text or None

    def _class_text(self) -> str | None:
        by_suffix = {member.suffix: member for member in self.members}
        if member := by_suffix.get("cls"):
            return read_member(self.tar, member).decode("utf-8", "replace").strip()
        if member := by_suffix.get("json"):
            try:
                fields = json.loads(read_member(self.tar, member))
            except ValueError:
                return None
            for name in _CLASS_FIELDS if isinstance(fields, dict) else ():
                if isinstance(value := fields.get(name), (str, int)):
                    return str(value)
        return None

    def __str__(self) -> str:
        return f"{self.tar}, sample {self.key},"


def class_names_in(folder: pathlib.Path) -> list[str]:
    """Returns the lines of a folder's `classnames.txt`, as CLIP's benchmarks have it, or none."""
    try:
        return read_file(folder / "classnames.txt").decode().splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def read_member(tar: pathlib.Path, member: Member) -> bytes:
    """Reads the content of a member.

    Raises:
      OSError: the tar can't be read.
    """
    with open_file(tar) as file:
        file.seek(member.data)
        return file.read(member.size)


def read_samples(tar: pathlib.Path) -> list[Sample]:
    """Reads the headers of a tar.

    Members in no sample are left out, as WebDataset leaves them out: folders, links, names without
    a suffix, and names like `__about__`.

    Raises:
      UserError: it can't be read, is truncated or isn't a plain tar.
    """
    try:
        with open_file(tar) as file:
            samples, keys = [], set()
            for key, members in _runs(_members(file)):
                samples.append(Sample(tar, key, members, key in keys))
                keys.add(key)
            return samples
    except (OSError, tarfile.TarError) as error:
        raise UserError(
            f"{tar} can't be read as a tar ({error}): copy it again; one that is compressed has to "
            "be unpacked to a plain .tar first"
        ) from error


def with_image(sample: Sample, image: Member, content: bytes, suffix: str) -> bytes:
    """Returns the blocks of a sample in which one member is another image.

    Args:
      sample: all other members stay bit for bit, headers included.
      image: the member that is replaced.
      content: what it gets.
      suffix: of its new name, such as '.png'.

    Raises:
      OSError: the tar can't be read.
    """
    blocks = []
    with open_file(sample.tar) as file:
        for member in sample.members:
            file.seek(member.start)
            if member is not image:
                blocks.append(file.read(member.end - member.start))
                continue
            # The header is the old one's, times and owners included: so equal contents make equal
            # tars.
            info = _info_at(file, member.start)
            info.name, info.size = os.path.splitext(member.name)[0] + suffix, len(content)
            kept = {n: v for n, v in info.pax_headers.items() if n not in ("path", "size")}
            info.pax_headers = kept
            blocks += [info.tobuf(tarfile.PAX_FORMAT), content]
            blocks.append(bytes(-len(content) % tarfile.BLOCKSIZE))
    return b"".join(blocks)


def write_tar(path: pathlib.Path, samples: Iterable[bytes]) -> None:
    """Writes a tar of samples as `with_image` returns them.

    Raises:
      OSError: it can't be written.
    """
    with path.open("wb") as file:
        for blocks in samples:
            file.write(blocks)
        file.write(bytes(2 * tarfile.BLOCKSIZE))
        file.write(bytes(-file.tell() % tarfile.RECORDSIZE))


def _members(file: BinaryIO) -> Iterator[Member]:
    """Yields the members that are in samples."""
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for info in tar:
            # All would stay in memory.
            tar.members = []  # type: ignore[attr-defined]
            match = _NAME.fullmatch(info.name)
            if info.isreg() and match and not _ABOUT.match(info.name):
                yield Member(info.name, match[2].lower(), info.offset, info.offset_data, info.size)
        file.seek(tar.offset)
        end = file.read(tarfile.BLOCKSIZE)
    if not end:
        raise tarfile.ReadError("it ends without the mark of a tar's end")
    while end:
        if any(end):
            raise tarfile.ReadError("there is more behind the mark of its end")
        end = file.read(_COPIED_BYTES)


def _info_at(file: BinaryIO, start: int) -> tarfile.TarInfo:
    file.seek(start)
    with tarfile.open(fileobj=file, mode="r:") as tar:
        info = tar.next()
    assert info is not None, "the tar had a member here when its headers were read"
    return info


def _runs(members: Iterable[Member]) -> Iterator[tuple[str, list[Member]]]:
    """Groups neighbours by their keys."""
    key, run = "", list[Member]()
    for member in members:
        match = _NAME.fullmatch(member.name)
        assert match is not None, "members without a key are left out"
        if match[1] != key and run:
            yield key, run
            run = []
        key = match[1]
        run.append(member)
    if run:
        yield key, run
