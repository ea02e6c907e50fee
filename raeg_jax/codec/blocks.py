"""Changes to EXIF and XMP blocks that leave all other bytes where they are.

Re-encoding a block would move the makers' notes, whose inner offsets are then wrong. So the
orientation is overwritten in place, and so are previews: small copies of the unprotected
picture that cameras put into both kinds of block. (Sources: TIFF 6.0, section 2; CIPA DC-008,
section 4.5.5; Adobe's XMP specification, part 1, section 8.3.)
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

ORIENTATION = 0x0112
PREFIX = b"Exif\0\0"
_EMPTY = b"MM\0*\0\0\0\x08" + bytes(6)
_SHORT, _LONG, _UNDEFINED, _IFD = 3, 4, 7, 13
# (offsets, lengths) of a preview: as JPEG, as strips, or as tiles.
_PREVIEWS = ((0x0201, 0x0202), (0x0111, 0x0117), (0x0144, 0x0145))
# Tags that say where other directories are: sub-images, EXIF, GPS, interoperability.
_POINTERS = (0x014A, 0x8769, 0x8825, 0xA005)
_MAKERS_NOTE = 0x927C
_DAMAGE = (struct.error, ValueError)
_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation\s*(?:=\s*["\']|>)\s*)[1-8]')
# Whatever the prefix: older versions of Photoshop have `xapGImg`.
_XMP_PREVIEW = re.compile(
    rb"""(<[\w.-]*GImg:image(?:\s[^<>]*)?>)[^<]*"""
    rb"""|(GImg:image\s*=\s*")[^"]*|(GImg:image\s*=\s*')[^']*"""
)


def with_orientation(exif: bytes, orientation: int) -> bytes:
    """Returns an EXIF block that says how its raster is to be turned.

    Args:
      exif: a TIFF structure without the prefix `Exif`, or empty.
      orientation: 1 to 8.

    Returns:
      the block, of the same length where it has the tag; unchanged where it has none and the
      orientation is 1, the default; else with a first directory at its end, which has the tag.

    Raises:
      struct.error, ValueError: it can't be parsed.
    """
    if orientation == 1 and not exif:
        return exif
    exif = exif or _EMPTY
    order, first = _first(exif)
    main = _directory(exif, order, first)
    value = struct.pack(order + "HHIHH", ORIENTATION, _SHORT, 1, orientation, 0)
    if (at := main.entries.get(ORIENTATION)) is not None:
        return exif[:at] + value + exif[at + len(value) :]
    if orientation == 1:
        return exif
    entries = {tag: exif[at : at + 12] for tag, at in main.entries.items()} | {ORIENTATION: value}
    start = len(exif) + len(exif) % 2  # Directories begin at even places.
    directory = struct.pack(order + "H", len(entries))
    directory += b"".join(entries[tag] for tag in sorted(entries)) + exif[main.link : main.link + 4]
    return exif[:4] + struct.pack(order + "I", start) + exif[8:].ljust(start - 8, b"\0") + directory


def without_preview(exif: bytes) -> bytes:
    """Returns an EXIF block of the same length whose previews are blanked and no more linked.

    Raises:
      struct.error, ValueError: it can't be parsed.
    """
    if not exif:
        return exif
    order, first = _first(exif)
    main, *others = _directories(exif, order, first)
    block = bytearray(exif)
    block[main.link : main.link + 4] = bytes(4)
    areas = [(one.start, one.link + 4 - one.start) for one in others if one.chained]
    for one in (main, *others):
        for offsets, lengths in one.previews():
            if lengths is None:
                raise ValueError("nothing says how long a preview is")
            places = (_numbers(exif, order, at) for at in (offsets, lengths))
            areas += zip(*places, strict=True)
            for at in (offsets, lengths):
                block[at + 4 : at + 12] = struct.pack(order + "II", 1, 0)
    return _blanked(block, main, areas)


def without_makers_note(exif: bytes) -> bytes:
    """Returns an EXIF block of the same length whose maker's note is four zeros.

    Raises:
      struct.error, ValueError: it can't be parsed.
    """
    order, first = _first(exif)
    directories = list(_directories(exif, order, first))
    block, areas = bytearray(exif), []
    for at in (one.entries[_MAKERS_NOTE] for one in directories if _MAKERS_NOTE in one.entries):
        length, place = struct.unpack_from(order + "II", exif, at + 4)
        if length > 4:
            areas.append((place, length))
        block[at + 2 : at + 12] = struct.pack(order + "HII", _UNDEFINED, 4, 0)
    return _blanked(block, directories[0], areas)


def has_preview(tiff: bytes) -> bool:
    """Whether a TIFF structure, as an EXIF block is one, has a picture; in doubt it has."""
    try:
        order, first = _first(tiff)
        for one in _directories(tiff, order, first):
            for _, lengths in one.previews():
                if lengths is None or _any_length(tiff, order, lengths):
                    return True
    except _DAMAGE:
        pass
    return False


def xmp_with_orientation(xmp: bytes, orientation: int) -> bytes:
    """Overwrites the orientation that an XMP packet repeats, where it has one."""
    return _XMP_ORIENTATION.sub(rb"\g<1>%d" % orientation, xmp)


def xmp_without_preview(xmp: bytes) -> bytes:
    """Empties the previews in an XMP packet."""
    return _XMP_PREVIEW.sub(lambda found: next(filter(None, found.groups())), xmp)


def _first(exif: bytes) -> tuple[str, int]:
    """Returns the byte order for `struct` and where the first directory starts."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        raise ValueError(f"no EXIF block starts with {exif[:4]!r}")
    return order, struct.unpack_from(order + "I", exif, 4)[0]


class _Directory(NamedTuple):
    """A list of entries in a TIFF structure.

    Attributes:
      start: its position.
      entries: tag -> position of its 12 bytes.
      link: position of the link to the next directory.
      chained: whether the first directory links to it, maybe by way of others, as to a preview.
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


def _directories(exif: bytes, order: str, first: int) -> Iterator[_Directory]:
    """Finds all directories: the first one, those that follow, and those that are in them.

    One that only an entry points to is left out where it is damaged.

    Raises:
      struct.error, ValueError: a damaged one, before those that are in them.
    """
    start, starts, seen = first, [], set()
    while start:
        if start in seen:
            raise ValueError(f"the directory at {start} lies over an earlier one")
        seen.add(start)
        one = _directory(exif, order, start, chained=start != first)
        yield one
        starts += _linked(exif, order, one)
        (start,) = struct.unpack_from(order + "I", exif, one.link)
    while starts:
        if (start := starts.pop()) in seen:
            continue
        seen.add(start)
        try:
            one = _directory(exif, order, start, chained=False)
        except _DAMAGE:
            continue
        yield one
        starts += [*_linked(exif, order, one), *struct.unpack_from(order + "I", exif, one.link)]


def _directory(exif: bytes, order: str, start: int, chained: bool = False) -> _Directory:
    (count,) = struct.unpack_from(order + "H", exif, start)
    link = start + 2 + 12 * count
    struct.unpack_from(order + "I", exif, link)  # All of it is there.
    places = range(start + 2, link, 12)
    entries = {struct.unpack_from(order + "H", exif, at)[0]: at for at in places}
    return _Directory(start, entries, link, chained)


def _linked(exif: bytes, order: str, one: _Directory) -> list[int]:
    """Returns where the directories are that a directory's entries point to."""
    starts = []
    for at in (one.entries[tag] for tag in _POINTERS if tag in one.entries):
        try:
            starts += _numbers(exif, order, at)
        except _DAMAGE:
            continue
    return starts


def _blanked(block: bytearray, main: _Directory, areas: list[tuple[int, int]]) -> bytes:
    """Blanks areas (start, length) that must not lie over the header or the first directory."""
    for start, length in areas:
        if not length:
            continue
        if start < 8 or main.start - length < start < main.link + 4:
            raise ValueError("a preview lies over the directory of the picture")
        length = max(0, min(length, len(block) - start))
        block[start : start + length] = bytes(length)
    return bytes(block)


def _any_length(tiff: bytes, order: str, at: int) -> bool:
    try:
        lengths = _numbers(tiff, order, at)
        return not lengths or any(lengths)
    except _DAMAGE:
        return True


def _numbers(exif: bytes, order: str, at: int) -> tuple[int, ...]:
    """Returns the numbers of one entry, which holds them or where they are."""
    kind, count = struct.unpack_from(order + "HI", exif, at + 2)
    if kind not in (_SHORT, _LONG, _IFD):
        raise ValueError(f"a preview's place has the type {kind}")
    form = f"{order}{count}{'H' if kind == _SHORT else 'I'}"
    place = at + 8
    if struct.calcsize(form) > 4:
        (place,) = struct.unpack_from(order + "I", exif, place)
    return struct.unpack_from(form, exif, place)
