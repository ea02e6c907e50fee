"""What is kept of an image file beside its pixels."""

import dataclasses
from collections.abc import Iterable

from PIL import Image

from raeg_jax.codec import blocks, oversize, turning

# What a PNG says about its colours, and its texts.
_KEPT_CHUNKS = (b"cHRM", b"cICP", b"gAMA", b"sRGB", b"tEXt", b"zTXt", b"iTXt")
# Texts that hold blocks which are kept elsewhere or may hold a preview.
_BLOCKS = (b"XML:com.adobe.xmp\0", b"Raw profile type ")
_RAW_EXIF = "Raw profile type exif"
# Tags of a TIFF file that tell about the picture; all others tell how the file is built.
_TIFF_TAGS = (
    *(270, 271, 272, blocks.ORIENTATION, 305, 306, 315, 316, 33432),  # maker, date, artist, ...
    *(18246, 18249, *range(40091, 40096)),  # ratings, and texts that Windows keeps
)
_TIFF_DIRECTORIES = (34665, 34853)  # EXIF, GPS
_INTEROPERABILITY = 40965


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What is kept of an image file beside its pixels; empty where the file has none.

    Attributes:
      exif: the EXIF block without prefix, its preview blanked. Makers' notes stay as they are,
        and those of some cameras hold a preview of their own.
      icc: the colour profile.
      xmp: the XMP packet, its previews emptied.
      dpi: dots per inch along the upright picture's width and height.
      png_chunks: (name, content) of a PNG's texts and colour descriptions.
    """

    exif: bytes = b""
    icc: bytes = b""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()


def read_metadata(
    image: Image.Image, chunks: Iterable[tuple[bytes, bytes]]
) -> tuple[Metadata, int, list[str]]:
    """Loads an opened image and collects what is kept of it.

    Args:
      image: as `Image.open` returns it.
      chunks: (name, content) of a PNG file.

    Returns:
      the metadata; the orientation, 1 to 8; notes on what was left out.
    """
    orientation, exif, notes = turning.UPRIGHT, b"", []
    try:
        # Pillow looks into EXIF, a PNG's texts, and XMP.
        orientation = _orientation(image.getexif())
        exif = blocks.without_preview(_exif(image))
    except MemoryError:
        raise
    except Exception:
        # Damaged blocks are common, and Pillow and `struct` raise almost anything on them.
        notes.append("its EXIF block is damaged and left out")
    # Loading takes the orientation out of a TIFF's XMP, and finds what follows a PNG's pixels.
    before = dict(image.info)
    image.load()
    info = {**image.info, **before}
    icc = info.get("icc_profile") or b""
    if not oversize.fits(icc):
        icc = b""
        notes.append(oversize.PROFILE_NOTE)
    metadata = Metadata(
        exif=exif,
        icc=icc,
        xmp=blocks.xmp_without_preview(info.get("xmp") or b""),
        dpi=_dpi(info, orientation),
        png_chunks=tuple(
            (name, content)
            for name, content in chunks
            if name in _KEPT_CHUNKS and not content.startswith(_BLOCKS)
        ),
    )
    return metadata, orientation, notes


def tiff_tags(exif: bytes) -> Image.Exif:
    """Returns the tags of an EXIF block that a TIFF file can hold beside its own."""
    block = Image.Exif()
    block.load(exif)
    return _descriptions(block)


def holds_directories(tags: Image.Exif) -> bool:
    """Whether EXIF or GPS data are among the tags."""
    return any(tag in tags for tag in _TIFF_DIRECTORIES)


def _orientation(tags: Image.Exif) -> int:
    """Reads what some programs write as a fraction or in floating point, too."""
    value = tags.get(blocks.ORIENTATION)
    return int(value) if value in turning.ORIENTATIONS else turning.UPRIGHT


def _exif(image: Image.Image) -> bytes:
    if image.format == "TIFF":
        tags = _descriptions(image.getexif())
        exif = tags.tobytes() if len(tags) else b""
    elif "exif" in image.info:
        exif = image.info["exif"]
    else:
        # ImageMagick's way: a heading of three lines, then hexadecimal digits.
        exif = bytes.fromhex("".join(image.info.get(_RAW_EXIF, "").split("\n")[3:]))
    return exif.removeprefix(blocks.PREFIX)


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
