"""Changes to EXIF and XMP blocks that leave all other bytes where they are.

Re-encoding a block would move the makers' notes, whose inner offsets are then wrong. So the
orientation is overwritten in place, and so is the preview: a small copy of the unprotected
picture that cameras put into both kinds of block. (Sources: TIFF 6.0, section 2; CIPA DC-008,
section 4.5.5; Adobe's XMP specification, part 1, section 8.3.)
"""

import re
import struct

from PIL import Image

ORIENTATION = 0x0112
PREFIX = b"Exif\0\0"
_SHORT, _LONG = 3, 4
# (offsets, lengths) of a preview in the second directory: as JPEG, or as strips.
_PREVIEWS = ((0x0201, 0x0202), (0x0111, 0x0117))
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
      orientation is 1, the default.

    Raises:
      struct.error, ValueError: it can't be parsed.
    """
    entries = _directory(exif, *_first(exif))[0] if exif else {}
    if ORIENTATION in entries:
        order, at = _first(exif)[0], entries[ORIENTATION]
        value = struct.pack(order + "HHIHH", ORIENTATION, _SHORT, 1, orientation, 0)
        return exif[:at] + value + exif[at + len(value) :]
    if orientation == 1:
        return exif
    block = Image.Exif()
    block.load(exif)
    block[ORIENTATION] = orientation
    return block.tobytes().removeprefix(PREFIX)


def without_preview(exif: bytes) -> bytes:
    """Returns an EXIF block of the same length whose preview is blanked and no more linked.

    Raises:
      struct.error, ValueError: it can't be parsed.
    """
    if not exif:
        return exif
    order, first = _first(exif)
    _, link = _directory(exif, order, first)
    (second,) = struct.unpack_from(order + "I", exif, link)
    if not second:
        return exif
    entries, end = _directory(exif, order, second)
    blanks = [(second, end + 4 - second)]
    for tags in _PREVIEWS:
        if all(tag in entries for tag in tags):
            blanks += zip(*(_numbers(exif, order, entries[tag]) for tag in tags), strict=False)
    block = bytearray(exif)
    block[link : link + 4] = bytes(4)
    for start, length in blanks:
        if start < 8 or first - length < start < link + 4:
            raise ValueError("a preview lies over the directory of the picture")
        length = max(0, min(length, len(block) - start))
        block[start : start + length] = bytes(length)
    return bytes(block)


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


def _directory(exif: bytes, order: str, start: int) -> tuple[dict[int, int], int]:
    """Returns tag -> position of its 12 bytes, and the position of the link to the next one."""
    (count,) = struct.unpack_from(order + "H", exif, start)
    link = start + 2 + 12 * count
    struct.unpack_from(order + "I", exif, link)  # All of it is there.
    places = range(start + 2, link, 12)
    return {struct.unpack_from(order + "H", exif, at)[0]: at for at in places}, link


def _numbers(exif: bytes, order: str, at: int) -> tuple[int, ...]:
    """Returns the numbers of one entry, which holds them or where they are."""
    kind, count = struct.unpack_from(order + "HI", exif, at + 2)
    if kind not in (_SHORT, _LONG):
        raise ValueError(f"a preview's place has the type {kind}")
    form = f"{order}{count}{'H' if kind == _SHORT else 'I'}"
    place = at + 8
    if struct.calcsize(form) > 4:
        (place,) = struct.unpack_from(order + "I", exif, place)
    return struct.unpack_from(form, exif, place)
