"""What is kept of an image file beside its pixels."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from PIL import Image

from raeg_jax.codec import blocks, embedded, oversize, turning

TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# What a PNG says about its colours, and its texts.
KEPT_CHUNKS = (b"cHRM", b"cICP", b"gAMA", b"sRGB", *TEXTS)
XMP_HEADING = b"http://ns.adobe.com/xap/1.0/\0"
DAMAGED_EXIF = "its EXIF block is damaged and left out"
_XMP_TEXT = "XML:com.adobe.xmp"
_RAW = "Raw profile type "
# Texts that hold blocks which are kept elsewhere.
_BLOCKS = (_XMP_TEXT.encode() + b"\0", _RAW.encode())
_RAW_NAMES = {"iptc": "IPTC data", "8bim": "Photoshop data"}
# Tags of a TIFF file that tell about the picture; all others tell how the file is built.
_TIFF_TAGS = (
    *(270, 271, 272, blocks.ORIENTATION, 305, 306, 315, 316, 33432),  # maker, date, artist, ...
    *(18246, 18249, *range(40091, 40096)),  # ratings, and texts that Windows keeps
)
_TIFF_DIRECTORIES = (34665, 34853)  # EXIF, GPS
TIFF_KEPT = _TIFF_TAGS + _TIFF_DIRECTORIES
_INTEROPERABILITY, _RESOLUTION = 40965, 282
_PICTURED = "{}, as a picture is in {}"


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What is kept of an image file beside its pixels; empty where the file has none.

    No picture is in it, as far as `embedded.holds_picture` knows.

    Attributes:
      exif: the EXIF block without prefix, its previews blanked.
      icc: the colour profile.
      xmp: the XMP packet in UTF-8, its previews emptied.
      dpi: dots per inch along the upright picture's width and height.
      png_chunks: (name, content) of a PNG's texts and colour descriptions; the comments of other
        files as texts of that name, as the PNG specification wants them.
    """

    exif: bytes = b""
    icc: bytes = b""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()


def read_metadata(
    image: Image.Image, chunks: Iterable[tuple[bytes, bytes]]
) -> tuple[Metadata, int, list[str], list[str]]:
    """Loads an opened image and collects what is kept of it.

    Args:
      image: as `Image.open` returns it.
      chunks: (name, content) of a PNG file.

    Returns:
      the metadata; the orientation, 1 to 8; notes on what was left out; names of what else was.
    """
    orientation, exif, notes = turning.UPRIGHT, b"", []
    tags, profiles, lost = {}, {}, []
    try:
        # Pillow looks into EXIF, a PNG's texts, and XMP.
        tags = image.getexif()
        orientation = _orientation(tags)
        profiles, lost = _raw_profiles(image.info)
        exif = _without_pictures(blocks.without_preview(_exif(image, profiles)), lost)
    except MemoryError:
        raise
    except Exception:
        # Damaged blocks are common, and Pillow and `struct` raise almost anything on them.
        notes.append(DAMAGED_EXIF)
    # Loading takes the orientation out of a TIFF's XMP, and finds what follows a PNG's pixels.
    before = dict(image.info)
    image.load()
    info = {**image.info, **before}
    if image.format in ("JPEG", "MPO") and not info.get("jfif_unit") and _RESOLUTION not in tags:
        # Pillow makes up 72 where an EXIF block says nothing.
        info.pop("dpi", None)
    icc = info.get("icc_profile") or profiles.get("icc") or profiles.get("icm") or b""
    if not oversize.fits(icc):
        icc = b""
        notes.append(oversize.PROFILE_NOTE)
    if embedded.holds_picture(icc):
        icc = b""
        lost.append(_PICTURED.format("its colour profile", "it"))
    metadata = Metadata(
        exif=exif,
        icc=icc,
        xmp=_xmp(info.get("xmp") or info.get(_XMP_TEXT) or profiles.get("xmp") or b"", lost),
        dpi=_dpi(info, orientation),
        png_chunks=tuple(_kept_chunks([*chunks, *_comments(image)], lost)),
    )
    return metadata, orientation, notes, lost


def keyword(content: bytes) -> str:
    """Returns the name of a PNG's text."""
    return content.partition(b"\0")[0].decode("latin-1")


def tags_of(exif: bytes) -> Image.Exif:
    """Parses an EXIF block."""
    tags = Image.Exif()
    tags.load(exif)
    return tags


def tiff_tags(exif: bytes) -> Image.Exif:
    """Returns the tags of an EXIF block that a TIFF file can hold beside its own."""
    return _descriptions(tags_of(exif))


def holds_directories(tags: Image.Exif) -> bool:
    """Whether EXIF or GPS data are among the tags."""
    return any(tag in tags for tag in _TIFF_DIRECTORIES)


def _orientation(tags: Image.Exif) -> int:
    """Reads what some programs write as a fraction or in floating point, too."""
    value = tags.get(blocks.ORIENTATION)
    return int(value) if value in turning.ORIENTATIONS else turning.UPRIGHT


def _exif(image: Image.Image, profiles: Mapping[str, bytes]) -> bytes:
    if image.format == "TIFF":
        tags = _descriptions(image.getexif())
        exif = tags.tobytes() if len(tags) else b""
    else:
        exif = image.info.get("exif") or profiles.get("exif") or b""
    # Some programs put the prefix into a PNG, and Pillow adds another one.
    while exif.startswith(blocks.PREFIX):
        exif = exif.removeprefix(blocks.PREFIX)
    return exif


def _raw_profiles(info: Mapping[Any, Any]) -> tuple[dict[str, bytes], list[str]]:
    """Reads the blocks that ImageMagick and others write into texts of a PNG.

    Returns:
      the blocks by kind; names of those that aren't kept.
    """
    found, lost = {}, []
    for key in (key for key in info if str(key).startswith(_RAW)):
        kind = key.removeprefix(_RAW)
        try:
            # A heading of three lines, then hexadecimal digits.
            block = bytes.fromhex("".join(info[key].split("\n")[3:]))
        except ValueError:
            lost.append(f"the text {key!r}, which is damaged")
            continue
        if kind == "APP1":
            kind = "xmp" if block.startswith(XMP_HEADING) else "exif"
        if kind in ("exif", "xmp", "icc", "icm"):
            found[kind] = block.removeprefix(XMP_HEADING)
        else:
            lost.append(_RAW_NAMES.get(kind, f"the text {key!r}"))
    return found, lost


def _without_pictures(exif: bytes, lost: list[str]) -> bytes:
    """Leaves out of an EXIF block the maker's note, or all, where pictures are in it still."""
    if not embedded.holds_picture(exif):
        return exif
    exif = blocks.without_makers_note(exif)
    if not embedded.holds_picture(exif):
        lost.append(_PICTURED.format("its maker's note", "it"))
        return exif
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
    xmp = blocks.xmp_without_preview(xmp)
    if not embedded.holds_picture(xmp):
        return xmp
    xmp = embedded.without_pictures(xmp)
    if not embedded.holds_picture(xmp):
        lost.append("a picture in its XMP data")
        return xmp
    lost.append(_PICTURED.format("its XMP data", "them"))
    return b""


def _comments(image: Image.Image) -> list[tuple[bytes, bytes]]:
    """Returns the comments of a JPEG or GIF file as a PNG's texts."""
    comments = [image.info.get("comment", b"")] if image.format == "GIF" else []
    comments += [content for name, content in getattr(image, "applist", ()) if name == "COM"]
    texts = []
    for comment in (comment.replace(b"\0", b"") for comment in comments):
        try:
            coded = b"" if comment.isascii() else comment.decode().encode()
        except ValueError:
            coded = b""
        if coded:
            texts.append((b"iTXt", b"Comment\0\0\0\0\0" + coded))
        elif comment:
            texts.append((b"tEXt", b"Comment\0" + comment))
    return texts


def _kept_chunks(
    chunks: Iterable[tuple[bytes, bytes]], lost: list[str]
) -> Iterable[tuple[bytes, bytes]]:
    for name, content in chunks:
        if name not in KEPT_CHUNKS or content.startswith(_BLOCKS):
            continue
        if embedded.holds_picture(content):
            named = f"the text {keyword(content)!r}" if name in TEXTS else name.decode()
            lost.append(_PICTURED.format(named, "it"))
        else:
            yield name, content


def _descriptions(tags: Image.Exif) -> Image.Exif:
    """Copies the tags that tell about the picture, and how and where it was taken."""
    kept = Image.Exif()
    for tag in _TIFF_TAGS:
        if tag in tags:
            kept[tag] = _encoded(tags[tag])
    if blocks.ORIENTATION in kept:
        kept[blocks.ORIENTATION] = _orientation(tags)
    for tag in _TIFF_DIRECTORIES:
        entries = {key: _encoded(value) for key, value in tags.get_ifd(tag).items()}
        # Pillow would write where that directory was, and not what was in it.
        entries.pop(_INTEROPERABILITY, None)
        if entries:
            kept.get_ifd(tag).update(entries)
            kept[tag] = 0  # Its place, which Pillow sets.
    return kept


def _encoded(value):
    """Keeps letters beyond ASCII, which Pillow reads as Latin-1 and writes as question marks."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("latin-1")
    return value


def _dpi(info: dict, orientation: int) -> tuple[float, float] | None:
    dpi = info.get("dpi", ())
    # Pillow gives 1 where a TIFF says nothing, and NaN for a fraction of 0/0.
    if len(dpi) != 2 or not all(1 < value < 1e6 for value in dpi):
        return None
    width, height = map(float, dpi)
    return (height, width) if turning.swaps_axes(orientation) else (width, height)
