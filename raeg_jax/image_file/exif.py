"""EXIF blocks: their tags, and changes that leave all other bytes of the block where they are.

Re-encoding a block would move the makers' notes, whose inner offsets are then wrong. So the
orientation is overwritten in place, and so are previews: small copies of the unprotected image
that cameras put into the block. Only TIFF files, which have no such block, get their tags encoded
anew. (Sources: TIFF 6.0, section 2; CIPA DC-008, section 4.5.5.)
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from PIL import Image

from raeg_jax.image_file.samples import ORIENTATIONS, UPRIGHT

ORIENTATION = 0x0112
PREFIX = b"Exif\0\0"
# Tags of a TIFF file that describe the image; all others say how the file is built.
_DESCRIPTIONS = (
    *(270, 271, 272, ORIENTATION, 305, 306, 315, 316, 33432),  # maker, date, artist, ...
    *(18246, 18249, *range(40091, 40096)),  # ratings, and texts that Windows writes
)
_DIRECTORIES = (34665, 34853)  # EXIF, GPS
TIFF_TAGS = _DESCRIPTIONS + _DIRECTORIES
_INTEROPERABILITY = 0xA005
_EMPTY = b"MM\0*\0\0\0\x08" + bytes(6)
_SHORT, _LONG, _UNDEFINED, _IFD = 3, 4, 7, 13
# (offsets, lengths) of a preview: as JPEG, as strips, or as tiles.
_PREVIEWS = ((0x0201, 0x0202), (0x0111, 0x0117), (0x0144, 0x0145))
# Tags that point to other directories: sub-images, EXIF, GPS, interoperability.
_POINTERS = (0x014A, 0x8769, 0x8825, _INTEROPERABILITY)
_MAKERS_NOTE = 0x927C
_DAMAGE = (struct.error, ValueError)


def parse_tags(exif: bytes) -> Image.Exif:
    """Parses an EXIF block; Pillow raises almost anything on a damaged one."""
    tags = Image.Exif()
    tags.load(exif)
    return tags


def orientation_of(tags: Mapping[int, Any]) -> int:
    """Returns the orientation, 1 to 8, that some programs write as a fraction or in floats."""
    value = tags.get(ORIENTATION)
    return int(value) if value in ORIENTATIONS else UPRIGHT


def tiff_tags(tags: Image.Exif) -> Image.Exif:
    """Copies the tags that describe the image, and how and where it was taken: `TIFF_TAGS`."""
    copied = Image.Exif()
    for tag in _DESCRIPTIONS:
        if tag in tags:
            copied[tag] = _as_latin_1(tags[tag])
    if ORIENTATION in copied:
        copied[ORIENTATION] = orientation_of(tags)
    for tag in _DIRECTORIES:
        entries = {key: _as_latin_1(value) for key, value in tags.get_ifd(tag).items()}
        # Pillow would write where that directory was, and not what was in it.
        entries.pop(_INTEROPERABILITY, None)
        if entries:
            copied.get_ifd(tag).update(entries)
            copied[tag] = 0  # The directory's offset, which Pillow sets.
    return copied


def holds_directories(tags: Image.Exif) -> bool:
    """Whether EXIF or GPS data are among the tags."""
    return any(tag in tags for tag in _DIRECTORIES)


def _as_latin_1(value: Any) -> Any:
    """Encodes letters beyond ASCII, which Pillow reads as Latin-1 and writes as question marks."""
    return value.encode("latin-1") if isinstance(value, str) and not value.isascii() else value


def with_orientation(exif: bytes, orientation: int) -> bytes:
    """Returns an EXIF block that says how its raster is to be turned.

    Args:
      exif: a TIFF structure without the prefix `Exif`, or empty.
      orientation: 1 to 8.

    Returns:
      the block, of the same length where it has the tag; unchanged where it has none and the
      orientation is 1, the default; else with a first directory at its end, which has the tag.

    Raises:
      struct.error, ValueError: the block can't be parsed.
    """
    if orientation == UPRIGHT and not exif:
        return exif
    tiff = _Tiff(exif or _EMPTY)
    exif, order = tiff.block, tiff.order
    main = tiff.directory(tiff.first)
    value = struct.pack(order + "HHIHH", ORIENTATION, _SHORT, 1, orientation, 0)
    if (at := main.entries.get(ORIENTATION)) is not None:
        return exif[:at] + value + exif[at + len(value) :]
    if orientation == UPRIGHT:
        return exif
    entries = {tag: exif[at : at + 12] for tag, at in main.entries.items()} | {ORIENTATION: value}
    start = len(exif) + len(exif) % 2  # Directories begin at even offsets.
    directory = struct.pack(order + "H", len(entries))
    directory += b"".join(entries[tag] for tag in sorted(entries)) + exif[main.link : main.link + 4]
    return exif[:4] + struct.pack(order + "I", start) + exif[8:].ljust(start - 8, b"\0") + directory


def without_preview(exif: bytes) -> bytes:
    """Returns an EXIF block of the same length whose previews are zeros and no longer linked.

    Raises:
      struct.error, ValueError: the block can't be parsed.
    """
    if not exif:
        return exif
    tiff = _Tiff(exif)
    main, *others = tiff.directories()
    block = bytearray(exif)
    block[main.link : main.link + 4] = bytes(4)
    areas = [(each.start, each.link + 4 - each.start) for each in others if each.chained]
    for directory in (main, *others):
        for offsets, lengths in directory.previews():
            if lengths is None:
                raise ValueError("nothing says how long a preview is")
            areas += zip(tiff.numbers(offsets), tiff.numbers(lengths), strict=True)
            for at in (offsets, lengths):
                block[at + 4 : at + 12] = struct.pack(tiff.order + "II", 1, 0)
    return _with_zeros(block, main, areas)


def without_makers_note(exif: bytes) -> bytes:
    """Returns an EXIF block of the same length whose maker's note is four zeros.

    Raises:
      struct.error, ValueError: the block can't be parsed.
    """
    tiff = _Tiff(exif)
    directories = list(tiff.directories())
    block, areas = bytearray(exif), []
    for at in (each.entries[_MAKERS_NOTE] for each in directories if _MAKERS_NOTE in each.entries):
        length, offset = tiff.unpack("II", at + 4)
        if length > 4:
            areas.append((offset, length))
        block[at + 2 : at + 12] = struct.pack(tiff.order + "HII", _UNDEFINED, 4, 0)
    return _with_zeros(block, directories[0], areas)


def has_preview(block: bytes) -> bool:
    """Whether a TIFF structure, as an EXIF block is one, has a picture; in doubt it has."""
    try:
        tiff = _Tiff(block)
        for directory in tiff.directories():
            for _, lengths in directory.previews():
                if lengths is None or tiff.has_length(lengths):
                    return True
    except _DAMAGE:
        pass
    return False


class _Directory(NamedTuple):
    """A list of entries in a TIFF structure.

    Attributes:
      start: its position.
      entries: tag -> position of its 12 bytes.
      link: position of the link to the next directory.
      chained: whether the first directory links to it, directly or through others, as to a preview.
    """

    start: int
    entries: dict[int, int]
    link: int
    chained: bool

    def previews(self) -> Iterator[tuple[int, int | None]]:
        """Yields the positions of the entries (offsets, lengths) of its pictures."""
        for offsets, lengths in _PREVIEWS:
            if offsets in self.entries:
                yield self.entries[offsets], self.entries.get(lengths)


class _Tiff:
    """Reads a TIFF structure; all methods raise struct.error or ValueError where it is damaged.

    Attributes:
      block: its bytes.
      order: byte order for `struct`.
      first: position of the first directory.
    """

    def __init__(self, block: bytes):
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
        if order is None:
            raise ValueError(f"no EXIF block starts with {block[:4]!r}")
        self.block, self.order = block, order
        (self.first,) = self.unpack("I", 4)

    def unpack(self, form: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + form, self.block, at)

    def directory(self, start: int, chained: bool = False) -> _Directory:
        (count,) = self.unpack("H", start)
        link = start + 2 + 12 * count
        self.unpack("I", link)  # The whole directory is there.
        entries = {self.unpack("H", at)[0]: at for at in range(start + 2, link, 12)}
        return _Directory(start, entries, link, chained)

    def directories(self) -> Iterator[_Directory]:
        """Yields the first directory, those that follow it, and those that entries point to.

        A damaged directory raises if it follows the first; where only an entry points to it, it is
        left out.
        """
        start, starts, seen = self.first, [], set()
        while start:
            if start in seen:
                raise ValueError(f"the directory at {start} lies over an earlier one")
            seen.add(start)
            directory = self.directory(start, chained=start != self.first)
            yield directory
            starts += self._pointers(directory)
            (start,) = self.unpack("I", directory.link)
        while starts:
            if (start := starts.pop()) in seen:
                continue
            seen.add(start)
            try:
                directory = self.directory(start)
            except _DAMAGE:
                continue
            yield directory
            starts += [*self._pointers(directory), *self.unpack("I", directory.link)]

    def _pointers(self, directory: _Directory) -> list[int]:
        """Returns the positions of the directories that a directory's entries point to."""
        starts: list[int] = []
        for at in (directory.entries[tag] for tag in _POINTERS if tag in directory.entries):
            try:
                starts += self.numbers(at)
            except _DAMAGE:
                continue
        return starts

    def has_length(self, at: int) -> bool:
        """Whether an entry of lengths has one above 0; in doubt it has."""
        try:
            lengths = self.numbers(at)
        except _DAMAGE:
            return True
        return not lengths or any(lengths)

    def numbers(self, at: int) -> tuple[int, ...]:
        """Returns the numbers of the entry at a position; the entry holds them or their offset."""
        kind, count = self.unpack("HI", at + 2)
        if kind not in (_SHORT, _LONG, _IFD):
            raise ValueError(f"a preview's place has the type {kind}")
        form = f"{count}{'H' if kind == _SHORT else 'I'}"
        offset = at + 8
        if struct.calcsize(self.order + form) > 4:
            (offset,) = self.unpack("I", offset)
        return self.unpack(form, offset)


def _with_zeros(block: bytearray, main: _Directory, areas: Iterable[tuple[int, int]]) -> bytes:
    """Overwrites areas (start, length), which must not touch the header or the first directory."""
    for start, length in areas:
        if not length:
            continue
        if start < 8 or main.start - length < start < main.link + 4:
            raise ValueError("a preview lies over the directory of the image")
        length = max(0, min(length, len(block) - start))
        block[start : start + length] = bytes(length)
    return bytes(block)
