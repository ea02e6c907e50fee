"""What is kept of an image file beside its pixels, and the names of what is not."""

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from PIL import Image, TiffTags
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from raeg_jax.image_file import embedded_pictures, exif, png
from raeg_jax.image_file.samples import UPRIGHT, swaps_axes

DAMAGED_EXIF = "its EXIF block is damaged and left out"
# What a PNG says about its colours, and its texts.
_KEPT_CHUNKS = (b"cHRM", b"cICP", b"gAMA", b"sRGB", *png.TEXTS)
_XMP_HEADING = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_TEXT = "XML:com.adobe.xmp"
_RAW = "Raw profile type "
# Texts that hold blocks which `Metadata` has elsewhere.
_BLOCKS = (_XMP_TEXT.encode() + b"\0", _RAW.encode())
_RAW_NAMES = {"iptc": "IPTC data", "8bim": "Photoshop data"}
_PICTURED = "{}, as a picture is in {}"

_MOST_NAMES = 8
_FORMATS = {"WEBP": "WebP", "TIFF": "TIFF"}
# Chunks that `Metadata` has, and those that say how pixels are stored or hold nothing of interest.
_PNG = frozenset(
    (
        *(*_KEPT_CHUNKS, b"eXIf", b"iCCP", b"pHYs", png.PAYLOAD_CHUNK),
        *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"hIST", b"sBIT", b"tIME", b"iDOT"),
    )
)
_WEBP = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"EXIF", b"ICCP", b"XMP "))
# JFIF, and how colours and samples are stored; other segments are known by their first bytes.
_JPEG = ("APP0", "APP14", "COM")
_JPEG_HEADINGS = (b"Exif\0", _XMP_HEADING, b"ICC_PROFILE\0", b"MPF\0", b"Ducky")
# How a TIFF's samples are stored, and what `Metadata` has elsewhere.
_TIFF = frozenset(
    (
        *(*range(254, 267), 273, *range(277, 285), *range(288, 294), 296, 317, *range(320, 326)),
        *(330, *range(338, 348), *range(512, 522), *range(529, 533), 700, 34675, 40965),
        *exif.TIFF_TAGS,
    )
)
_RESOLUTION, _RESOLUTION_UNIT, _ASPECT = 282, 296, 1


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What is kept of an image file beside its pixels; empty where the file has none.

    No picture is in it, as far as `embedded_pictures.holds_picture` knows.

    Attributes:
      exif: the EXIF block without prefix, its previews overwritten with zeros.
      icc: the colour profile.
      xmp: the XMP packet in UTF-8, its previews emptied.
      dpi: dots per inch along the upright image's width and height.
      png_chunks: (name, content) of a PNG's texts and colour descriptions; the comments of other
        files as texts of that name, as the PNG specification wants them.
    """

    exif: bytes = b""
    icc: bytes = b""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()


def read_metadata(
    image: Image.Image, chunks: Iterable[tuple[bytes, bytes]], data: bytes
) -> tuple[Metadata, int, list[str], list[str]]:
    """Loads an opened image and collects what is kept of it.

    Args:
      image: as `Image.open` returns it.
      chunks: (name, content) of a PNG file.
      data: of the file.

    Returns:
      the metadata; the orientation, 1 to 8; notes on what was left out, each as the end of a
      sentence about the file; names of what else of its metadata is left out.
    """
    orientation, block, notes = UPRIGHT, b"", []
    tags: Mapping[int, Any] = {}
    profiles: dict[str, bytes] = {}
    lost: list[str] = []
    try:
        # Pillow looks into EXIF, a PNG's texts, and XMP.
        tags = image.getexif()
        orientation = exif.orientation_of(tags)
        profiles, lost = _raw_profiles(image.info)
        block = _without_pictures(exif.without_preview(_exif_block(image, profiles)), lost)
    except MemoryError:
        raise
    except Exception:
        # Damaged blocks are common, and Pillow and `struct` raise almost anything on them.
        notes.append(DAMAGED_EXIF)
    # Loading takes the orientation out of a TIFF's XMP, and finds what follows a PNG's pixels.
    before = dict(image.info)
    image.load()
    info = {**image.info, **before}
    if isinstance(image, JpegImageFile) and not info.get("jfif_unit") and _RESOLUTION not in tags:
        # Pillow makes up 72 where an EXIF block says nothing.
        info.pop("dpi", None)
    icc = info.get("icc_profile") or profiles.get("icc") or profiles.get("icm") or b""
    if not png.profile_fits(icc):
        icc = b""
        notes.append(png.PROFILE_NOTE)
    if embedded_pictures.holds_picture(icc):
        icc = b""
        lost.append(_PICTURED.format("its colour profile", "it"))
    metadata = Metadata(
        exif=block,
        icc=icc,
        xmp=_xmp(info.get("xmp") or info.get(_XMP_TEXT) or profiles.get("xmp") or b"", lost),
        dpi=_dpi(info, orientation),
        png_chunks=tuple(_kept_chunks([*chunks, *_comments(image)], lost)),
    )
    lost += _unread(image, chunks, data)
    return metadata, orientation, notes, lost


def loss_note(lost: Iterable[str], metadata: Metadata, kind: str) -> tuple[str, ...]:
    """Says what of a file's metadata is not in the file that is written.

    Args:
      lost: names of what is not in its `Metadata`.
      metadata: its metadata.
      kind: of the file that is written: "PNG", "WEBP" or "TIFF".

    Returns:
      the end of a sentence about the file that was read, or nothing.
    """
    parts = []
    if names := _enumerated(lost):
        parts.append(f"left out: {names}")
    if names := _enumerated(_not_held(metadata, kind)):
        parts.append(f"{_FORMATS[kind]} has no place for {names}")
    return ("; ".join(parts),) if parts else ()


def _exif_block(image: Image.Image, profiles: Mapping[str, bytes]) -> bytes:
    if isinstance(image, TiffImageFile):
        tags = exif.tiff_tags(image.getexif())
        block = tags.tobytes() if len(tags) else b""
    else:
        block = image.info.get("exif") or profiles.get("exif") or b""
    # Some programs put the prefix into a PNG, and Pillow adds another one.
    while block.startswith(exif.PREFIX):
        block = block.removeprefix(exif.PREFIX)
    return block


def _raw_profiles(info: Mapping[Any, Any]) -> tuple[dict[str, bytes], list[str]]:
    """Reads the blocks that ImageMagick and others write into texts of a PNG.

    Returns:
      the blocks by kind; names of those that aren't kept.
    """
    profiles, lost = {}, []
    for key in (key for key in info if str(key).startswith(_RAW)):
        kind = key.removeprefix(_RAW)
        try:
            # A heading of three lines, then hexadecimal digits.
            block = bytes.fromhex("".join(info[key].split("\n")[3:]))
        except ValueError:
            lost.append(f"the text {key!r}, which is damaged")
            continue
        if kind == "APP1":
            kind = "xmp" if block.startswith(_XMP_HEADING) else "exif"
        if kind in ("exif", "xmp", "icc", "icm"):
            profiles[kind] = block.removeprefix(_XMP_HEADING)
        else:
            lost.append(_RAW_NAMES.get(kind, f"the text {key!r}"))
    return profiles, lost


def _without_pictures(block: bytes, lost: list[str]) -> bytes:
    """Leaves out of an EXIF block the maker's note, or all, where pictures are in it still."""
    if not embedded_pictures.holds_picture(block):
        return block
    block = exif.without_makers_note(block)
    if not embedded_pictures.holds_picture(block):
        lost.append(_PICTURED.format("its maker's note", "it"))
        return block
    lost.append(_PICTURED.format("its EXIF data", "them"))
    return b""


def _xmp(xmp: Any, lost: list[str]) -> bytes:
    """Returns an XMP packet in UTF-8, as most formats want it, without pictures."""
    try:
        if isinstance(xmp, str):
            xmp = xmp.encode()
        # Told by marks and zeros, for XML as for JSON.
        if (coding := json.detect_encoding(xmp)) not in ("utf-8", "utf-8-sig"):
            xmp = xmp.decode(coding).removeprefix("\ufeff").encode()
    except (AttributeError, TypeError, ValueError):
        lost.append("its XMP data, which are damaged")
        return b""
    xmp = embedded_pictures.xmp_without_preview(xmp)
    if not embedded_pictures.holds_picture(xmp):
        return xmp
    xmp = embedded_pictures.without_pictures(xmp)
    if not embedded_pictures.holds_picture(xmp):
        lost.append("a picture in its XMP data")
        return xmp
    lost.append(_PICTURED.format("its XMP data", "them"))
    return b""


def _comments(image: Image.Image) -> Iterator[tuple[bytes, bytes]]:
    """Yields the comments of a JPEG or GIF file as a PNG's texts."""
    comments = [image.info.get("comment", b"")] if image.format == "GIF" else []
    if isinstance(image, JpegImageFile):
        comments += [content for name, content in image.applist if name == "COM"]
    for comment in (comment.replace(b"\0", b"") for comment in comments):
        try:
            coded = b"" if comment.isascii() else comment.decode().encode()
        except ValueError:
            coded = b""
        if coded:
            yield b"iTXt", b"Comment\0\0\0\0\0" + coded
        elif comment:
            yield b"tEXt", b"Comment\0" + comment


def _kept_chunks(
    chunks: Iterable[tuple[bytes, bytes]], lost: list[str]
) -> Iterator[tuple[bytes, bytes]]:
    for name, content in chunks:
        if name not in _KEPT_CHUNKS or content.startswith(_BLOCKS):
            continue
        if embedded_pictures.holds_picture(content):
            lost.append(_PICTURED.format(_chunk_name(name, content), "it"))
        else:
            yield name, content


def _dpi(info: Mapping[Any, Any], orientation: int) -> tuple[float, float] | None:
    dpi = info.get("dpi", ())
    # Pillow gives 1 where a TIFF says nothing, and NaN for a fraction of 0/0.
    if len(dpi) != 2 or not all(1 < value < 1e6 for value in dpi):
        return None
    width, height = map(float, dpi)
    return (height, width) if swaps_axes(orientation) else (width, height)


def _unread(
    image: Image.Image, chunks: Iterable[tuple[bytes, bytes]], data: bytes
) -> Iterator[str]:
    """Names what a file has and `Metadata` has not: arguments as of `read_metadata`."""
    if _uneven(image):
        yield "the aspect ratio of its pixels"
    if isinstance(image, JpegImageFile):
        yield from _segment_names(image.applist)
    elif isinstance(image, TiffImageFile):
        yield from _tag_names(image.tag_v2)
    elif image.format == "PNG":
        yield from (_chunk_name(name) for name, _ in chunks if name not in _PNG)
    elif image.format == "WEBP":
        yield from (_chunk_name(name) for name in _riff_names(data) if name not in _WEBP)
    elif image.format == "GIF" and b"XMP DataXMP" in data:
        yield "XMP data"
    elif image.format == "BMP" and data[14:18] == b"\x7c\0\0\0" and data[70:74] == b"DEBM":
        yield "its colour profile"
    elif image.format == "PPM" and re.match(rb"P\d\s+(?:\d+\s+)*#", data):
        yield "a comment"


def _not_held(metadata: Metadata, kind: str) -> Iterator[str]:
    """Names what a file of this kind can't hold."""
    if kind == "PNG":
        return
    yield from (_chunk_name(*chunk) for chunk in metadata.png_chunks)
    try:
        tags = set(exif.parse_tags(metadata.exif))
    except Exception:
        # Pillow raises almost anything on damaged blocks. PNG and WebP take them as they are.
        tags = set()
    if kind == "WEBP" and metadata.dpi and _RESOLUTION not in tags:
        yield "dots per inch"
    if kind == "TIFF":
        yield from _tag_names(tags)


def _enumerated(names: Iterable[str]) -> str:
    names = list(dict.fromkeys(names))
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _uneven(image: Image.Image) -> bool:
    """Whether a file tells the shape of its pixels without their size, and they aren't square."""
    sides = image.info.get("aspect", (1, 1))
    if image.info.get("jfif_unit") == 0:
        sides = image.info["jfif_density"]
    elif isinstance(image, TiffImageFile) and image.tag_v2.get(_RESOLUTION_UNIT) == _ASPECT:
        sides = (image.tag_v2.get(_RESOLUTION), image.tag_v2.get(_RESOLUTION + 1))
    return sides[0] != sides[1]


def _segment_names(segments: Iterable[tuple[str, bytes]]) -> Iterator[str]:
    """Names the segments of a JPEG file that `Metadata` has not."""
    for name, content in segments:
        if content.startswith(b"Photoshop"):
            # 8BIM stands before each resource; that of number 0404 is IPTC's.
            yield "IPTC data" if b"8BIM\x04\x04" in content else "Photoshop data"
        elif content.startswith(b"http://ns.adobe.com/xmp/extension/"):
            yield "extended XMP data"
        elif name not in _JPEG and not content.startswith(_JPEG_HEADINGS):
            yield f"{name} data"


def _tag_names(tags: Iterable[int]) -> Iterator[str]:
    """Names the tags that a TIFF file of ours doesn't get."""
    for tag in tags:
        if tag not in _TIFF:
            name = TiffTags.lookup(tag).name
            yield f"TIFF tag {tag}" if name == "unknown" else name


def _chunk_name(name: bytes, content: bytes = b"") -> str:
    """Names a chunk of a PNG or WebP file, a text by its keyword."""
    if name in png.TEXTS and (keyword := png.text_keyword(content)):
        return f"the text {keyword!r}"
    decoded = name.decode("latin-1")
    return decoded if decoded.isprintable() else repr(decoded)


def _riff_names(data: bytes) -> Iterator[bytes]:
    """Yields the names of a WebP file's chunks."""
    position = 12
    while position + 8 <= len(data):
        yield data[position : position + 4]
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + length + length % 2
