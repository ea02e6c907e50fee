"""What is kept of a file beside its pixels, and what is not is named, once."""

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational

from raeg_jax.image_file.exif import PREFIX, parse_tags, with_orientation
from raeg_jax.image_file.metadata import Metadata
from raeg_jax.image_file.read import decode_image_file, read_image_file
from raeg_jax.image_file.write import lost_metadata, write_image_file
from tests.image_file.files import RGB, encode, put_chunk, riff, segment, with_text

PROFILE = b"a colour profile" * 9
XMP = b'<x:xmpmeta dc:title="kept" tiff:Orientation="6"/>'
EXIF = b"MM\0*\0\0\0\x08\0\1\1\x3b\0\2\0\0\0\3me\0\0\0\0\0\0"
WITH_EXIF = ("JPEG", "PNG", "WEBP", "TIFF")


def exif_of(orientation=1):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    exif.get_ifd(0x8769).update({0x9003: "2024:05:06 07:08:09", 0x829A: IFDRational(1, 250)})
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 14.5)})
    # Through bytes, because Pillow overlooks directories that were not read from any.
    return parse_tags(exif.tobytes())


def metadata_of(data):
    return decode_image_file(data, "photo").metadata


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_exif_block_is_kept_byte_for_byte(kind):
    exif = exif_of(orientation=6).tobytes()
    assert metadata_of(encode(kind, exif=exif)).exif == exif.removeprefix(PREFIX)


def test_the_tags_of_a_tiff_that_describe_the_image_become_an_exif_block():
    exif = exif_of()
    exif[0x8298] = "© owner".encode("latin-1")
    tags = parse_tags(metadata_of(encode("TIFF", exif=exif)).exif)
    assert (tags[0x010F], tags[0x8298]) == ("Maker", "© owner")
    assert tags.get_ifd(0x8769) == exif.get_ifd(0x8769)
    assert tags.get_ifd(0x8825) == exif.get_ifd(0x8825)
    # None of those that say where the samples are.
    assert set(tags) == {0x0112, 0x010F, 0x8298, 0x8769, 0x8825}


def test_the_orientation_is_read_from_the_exif_block_that_imagemagick_writes_into_a_text():
    exif = exif_of(orientation=3).tobytes()
    data = with_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n", zip=True)
    image = decode_image_file(data, "photo")
    assert image.metadata == Metadata(exif=exif.removeprefix(PREFIX))
    assert image.orientation == 3


@pytest.mark.parametrize("kind", WITH_EXIF)
def test_colour_profile_and_density_are_kept(kind):
    metadata = metadata_of(encode(kind, icc_profile=PROFILE, dpi=(300, 150)))
    assert metadata.icc == PROFILE
    if kind != "WEBP":
        assert metadata.dpi == pytest.approx((300, 150), rel=1e-4)
    assert metadata_of(encode(kind)) == Metadata()


def test_densities_follow_the_axes_and_impossible_ones_are_left_out():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert metadata_of(encode("JPEG", dpi=(300, 150), exif=exif)).dpi == (150, 300)
    assert metadata_of(encode("TIFF", dpi=(IFDRational(0, 0), 300))).dpi is None


@pytest.mark.parametrize("kind", WITH_EXIF)
def test_xmp_is_kept_and_its_orientation_followed(kind):
    if kind == "PNG":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP)
        options = {"pnginfo": info}
    elif kind == "TIFF":
        options = {"tiffinfo": {700: XMP}}
    else:
        options = {"xmp": XMP}
    image = decode_image_file(encode(kind, **options), "photo")
    assert (image.metadata.xmp, image.metadata.png_chunks) == (XMP, ())
    assert image.orientation == 6
    assert image.pixels.shape == (14, 10, 3)


def test_blocks_after_the_pixels_of_a_png_are_found():
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP)
    info.add_text("Author", "somebody")
    png = encode(pnginfo=info, exif=exif_of())
    start, pixels, end = png.index(b"iTXt") - 4, png.index(b"IDAT") - 4, png.index(b"IEND") - 4
    exif = png.index(b"eXIf") - 4
    moved = png[:start] + png[exif:end] + png[start:exif] + png[end:]
    assert moved.index(b"iTXt") > moved.index(b"IDAT")
    assert pixels > exif > start
    assert metadata_of(moved) == metadata_of(png)
    assert metadata_of(png).xmp == XMP


def test_texts_and_colours_of_a_png_are_kept():
    info = PngInfo()
    info.add(b"gAMA", (45455).to_bytes(4))
    info.add_text("Author", "somebody")
    info.add_text("Title", "packed", zip=True)
    info.add_itxt("Comment", "\N{SNOWMAN}")
    # Not known to be harmless, so left out.
    info.add(b"teSt", b"private")
    chunks = metadata_of(encode(pnginfo=info)).png_chunks
    assert [name for name, _ in chunks] == [b"gAMA", b"tEXt", b"zTXt", b"iTXt"]
    assert chunks[1] == (b"tEXt", b"Author\0somebody")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("exif", "orientation"),
    [
        (exif_of(6).tobytes()[:30], 1),
        (b"Exif\0\0no block", 1),
        # All is there but what the link to a second directory points to.
        (b"Exif\0\0" + with_orientation(b"", 6)[:-4] + b"\0\0\1\0", 6),
    ],
)
@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Corrupt EXIF data")
def test_a_damaged_exif_block_does_not_spoil_the_image(kind, exif, orientation):
    image = decode_image_file(encode(kind, exif=exif), "photo")
    assert image.notes == ("its EXIF block is damaged and left out",)
    assert image.metadata.exif == b""
    assert image.orientation == orientation
    assert image.pixels.shape == (RGB if orientation == 1 else RGB.swapaxes(0, 1)).shape


def raw_profile(kind, content):
    head = f"\n{kind}\n{len(content):8}\n"
    return with_text(f"Raw profile type {kind}", head + content.hex() + "\n")


@pytest.mark.parametrize(
    ("data", "field", "expected"),
    [
        (raw_profile("xmp", XMP), "xmp", XMP),
        (raw_profile("APP1", b"http://ns.adobe.com/xap/1.0/\0" + XMP), "xmp", XMP),
        (raw_profile("APP1", b"Exif\0\0" + EXIF), "exif", EXIF),
        (raw_profile("icc", b"a profile"), "icc", b"a profile"),
        (encode(exif=b"Exif\0\0Exif\0\0" + EXIF), "exif", EXIF),
        (encode("WEBP", xmp=XMP.decode().encode("utf-16")), "xmp", XMP),
        (encode("JPEG", comment=b"said"), "png_chunks", ((b"tEXt", b"Comment\0said"),)),
        (
            encode("GIF", comment="wörtlich"),
            "png_chunks",
            ((b"iTXt", b"Comment\0\0\0\0\0" + "wörtlich".encode()),),
        ),
        # Pillow says 72 of it, which nobody wrote.
        (encode("JPEG", exif=b"Exif\0\0" + EXIF), "dpi", None),
    ],
)
def test_what_stands_in_unusual_places_is_kept(tmp_path, data, field, expected):
    image = decode_image_file(data, "photo")
    assert image.lost == ()
    assert getattr(image.metadata, field) == expected
    write_image_file(tmp_path / "photo.png", image)
    # The written raster is upright.
    upright = expected.replace(b'"6"', b'"1"') if field == "xmp" else expected
    assert getattr(read_image_file(tmp_path / "photo.png").metadata, field) == upright


def texts(**contents):
    info = PngInfo()
    for name, content in contents.items():
        info.add_text(name, content)
    return encode(pnginfo=info)


def coloured():
    data = put_chunk(encode(dpi=(300, 150)), (45455).to_bytes(4), b"gAMA")
    return put_chunk(put_chunk(data, bytes((9, 16, 0, 1)), b"cICP"), b"somewhere", b"plCe")


def tagged():
    buffer = io.BytesIO()
    extra = [(269, 2, 9, "document", True), (33723, 7, 4, b"iptc", True)]
    tifffile.imwrite(buffer, RGB, photometric="rgb", extratags=extra, metadata=None)
    return buffer.getvalue()


def bitmap_with_profile():
    head = struct.pack("<IiiHHIIiiII", 124, 14, 10, 1, 24, 0, 0, 0, 0, 0, 0)
    head += bytes(16) + b"DEBM" + bytes(124 - len(head) - 20)
    rows = np.pad(RGB.reshape(10, 42), ((0, 0), (0, 2))).tobytes()
    return b"BM" + struct.pack("<IHHI", 138 + len(rows), 0, 0, 138) + head + rows


PROMPTS = "has no place for the text 'prompt', the text 'parameters'"
COMMENT = "has no place for the text 'Comment'"
MANY = ", ".join(f"the text 'key{number}'" for number in range(8)) + " and 3 more"
# What is said of a file written as PNG, WebP, TIFF.
PARTLY_LOST = {
    "nothing": (encode(), "", "", ""),
    "texts": (texts(prompt="{}", parameters="☃"), "", f"WebP {PROMPTS}", f"TIFF {PROMPTS}"),
    "colours": (
        coloured(),
        "left out: plCe",
        "left out: plCe; WebP has no place for cICP, gAMA, dots per inch",
        "left out: plCe; TIFF has no place for cICP, gAMA",
    ),
    "a comment": (encode("JPEG", comment=b"said"), "", f"WebP {COMMENT}", f"TIFF {COMMENT}"),
    "a GIF": (encode("GIF", comment="wörtlich"), "", f"WebP {COMMENT}", f"TIFF {COMMENT}"),
    "many": (
        texts(**{f"key{number}": "x" for number in range(11)}),
        "",
        f"WebP has no place for {MANY}",
        f"TIFF has no place for {MANY}",
    ),
}
# What is left out of files of all kinds.
LOST = {
    "aspect": (
        put_chunk(encode(), struct.pack(">IIB", 2, 1, 0), b"pHYs"),
        "the aspect ratio of its pixels",
    ),
    "IPTC": (segment(0xED, b"Photoshop 3.0\x008BIM\4\4caption"), "IPTC data"),
    "IPTC in a text": (raw_profile("iptc", b"caption"), "IPTC data"),
    "a damaged text": (
        with_text("Raw profile type xmp", "\nxmp\n3\nxyz"),
        "the text 'Raw profile type xmp', which is damaged",
    ),
    "extended XMP": (
        segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0..."),
        "extended XMP data",
    ),
    "damaged XMP": (encode("WEBP", xmp=b"<\0x\0."), "its XMP data, which are damaged"),
    "a TIFF": (tagged(), "DocumentName, IptcNaaInfo"),
    "a BMP": (bitmap_with_profile(), "its colour profile"),
    "a PPM": (b"P6\n# said\n14 10 255\n" + RGB.tobytes(), "a comment"),
    "a WebP": (riff(b"\x1b[2J"), r"'\x1b[2J'"),
}
NOTES = PARTLY_LOST | {what: (data, *[f"left out: {x}"] * 3) for what, (data, x) in LOST.items()}


@pytest.mark.parametrize("what", NOTES)
def test_one_note_names_what_is_lost(what):
    data, *notes = NOTES[what]
    image = decode_image_file(data, "photo")
    for suffix, expected in zip((".png", ".webp", ".tiff"), notes, strict=True):
        assert lost_metadata(image, f"photo{suffix}") == ((expected,) if expected else ())
    assert image.notes == ()
