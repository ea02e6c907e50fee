"""What of a file's metadata gets lost, by name: nothing is to vanish without a word."""

import re
from collections.abc import Iterable, Iterator

from PIL import Image, TiffTags

from raeg_jax.codec import chunk, metadata
from raeg_jax.codec.metadata import Metadata

_NAMED = 8
_FORMATS = {"WEBP": "WebP", "TIFF": "TIFF"}
# Chunks that `Metadata` has, and those that tell how pixels are stored or what holds no more.
_PNG = frozenset(
    (
        *(*metadata.KEPT_CHUNKS, b"eXIf", b"iCCP", b"pHYs", chunk.NAME),
        *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"hIST", b"sBIT", b"tIME", b"iDOT"),
    )
)
_WEBP = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"EXIF", b"ICCP", b"XMP "))
# JFIF, and how colours and samples are stored; others are told by how they begin.
_JPEG = ("APP0", "APP14", "COM")
_JPEG_HEADINGS = (b"Exif\0", metadata.XMP_HEADING, b"ICC_PROFILE\0", b"MPF\0", b"Ducky")
# How a TIFF's samples are stored, and what `Metadata` has elsewhere.
_TIFF = frozenset(
    (
        *(*range(254, 267), 273, *range(277, 285), *range(288, 294), 296, 317, *range(320, 326)),
        *(330, *range(338, 348), *range(512, 522), *range(529, 533), 700, 34675, 40965),
        *metadata.TIFF_KEPT,
    )
)
_HORIZONTAL, _RESOLUTION_UNIT, _ASPECT = 282, 296, 1


def unread(image: Image.Image, chunks: Iterable[tuple[bytes, bytes]], data: bytes) -> Iterator[str]:
    """Names what a file has and `Metadata` has not.

    Args:
      image: loaded.
      chunks: (name, content) of a PNG file.
      data: of the file.
    """
    if _uneven(image):
        yield "the aspect ratio of its pixels"
    if image.format == "PNG":
        yield from (_name(name) for name, _ in chunks if name not in _PNG)
    elif image.format in ("JPEG", "MPO"):
        yield from _segments(image.applist)
    elif image.format == "TIFF":
        yield from _tag_names(image.tag_v2)
    elif image.format == "WEBP":
        yield from (_name(name) for name in _riff(data) if name not in _WEBP)
    elif image.format == "GIF" and b"XMP DataXMP" in data:
        yield "XMP data"
    elif image.format == "BMP" and data[14:18] == b"\x7c\0\0\0" and data[70:74] == b"DEBM":
        yield "its colour profile"
    elif image.format == "PPM" and re.match(rb"P\d\s+(?:\d+\s+)*#", data):
        yield "a comment"


def note(lost: Iterable[str], kept: Metadata, kind: str) -> tuple[str, ...]:
    """Says what of a picture's metadata is not in the file that is written.

    Args:
      lost: names of what is not in its `Metadata`.
      kept: its metadata.
      kind: of the file that is written: "PNG", "WEBP" or "TIFF".

    Returns:
      the end of a sentence about the file that was read, or nothing.
    """
    parts = []
    if names := _listed(lost):
        parts.append(f"left out: {names}")
    if names := _listed(_not_held(kept, kind)):
        parts.append(f"{_FORMATS[kind]} has no place for {names}")
    return ("; ".join(parts),) if parts else ()


def _not_held(kept: Metadata, kind: str) -> Iterator[str]:
    if kind == "PNG":
        return
    for name, content in kept.png_chunks:
        text = metadata.keyword(content) if name in metadata.TEXTS else ""
        yield f"the text {text!r}" if text else _name(name)
    try:
        tags = set(metadata.tags_of(kept.exif))
    except Exception:
        # Pillow raises almost anything on damaged blocks. PNG and WebP take them as they are.
        tags = set()
    if kind == "WEBP" and kept.dpi and _HORIZONTAL not in tags:
        yield "dots per inch"
    if kind == "TIFF":
        yield from _tag_names(tags)


def _listed(names: Iterable[str]) -> str:
    names = list(dict.fromkeys(names))
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _uneven(image: Image.Image) -> bool:
    """Whether a file tells the shape of its pixels without their size, and they aren't square."""
    sides = image.info.get("aspect", (1, 1))
    if image.info.get("jfif_unit") == 0:
        sides = image.info["jfif_density"]
    elif image.format == "TIFF" and image.tag_v2.get(_RESOLUTION_UNIT) == _ASPECT:
        sides = (image.tag_v2.get(_HORIZONTAL), image.tag_v2.get(_HORIZONTAL + 1))
    return sides[0] != sides[1]


def _segments(segments: Iterable[tuple[str, bytes]]) -> Iterator[str]:
    for name, content in segments:
        if content.startswith(b"Photoshop"):
            # 8BIM stands before each resource; that of number 0404 is IPTC's.
            yield "IPTC data" if b"8BIM\x04\x04" in content else "Photoshop data"
        elif content.startswith(b"http://ns.adobe.com/xmp/extension/"):
            yield "extended XMP data"
        elif name not in _JPEG and not content.startswith(_JPEG_HEADINGS):
            yield f"{name} data"


def _tag_names(tags: Iterable[int]) -> Iterator[str]:
    for tag in tags:
        if tag not in _TIFF:
            name = TiffTags.lookup(tag).name
            yield f"TIFF tag {tag}" if name == "unknown" else name


def _name(chunk_name: bytes) -> str:
    name = chunk_name.decode("latin-1")
    return name if name.isprintable() else repr(name)


def _riff(data: bytes) -> Iterator[bytes]:
    """Yields the names of a WebP file's chunks."""
    position = 12
    while position + 8 <= len(data):
        yield data[position : position + 4]
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + length + length % 2
