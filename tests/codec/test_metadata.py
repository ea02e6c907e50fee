"""What is kept of a file beside its pixels, and what is left out."""

import io

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IFDRational

from raeg_jax.codec import blocks
from raeg_jax.codec.metadata import Metadata
from raeg_jax.codec.picture import decode_picture

RGB = np.random.default_rng(0).integers(0, 256, (10, 14, 3), np.uint8)
PROFILE = b"a colour profile" * 9
XMP = b'<x:xmpmeta tiff:Orientation="6"/>'
WITH_EXIF = ("JPEG", "PNG", "WEBP", "TIFF")


def encode(kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, kind, **options)
    return buffer.getvalue()


def exif_of(orientation=1):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    exif.get_ifd(0x8769).update({0x9003: "2024:05:06 07:08:09", 0x829A: IFDRational(1, 250)})
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 14.5)})
    # Through bytes, because Pillow overlooks directories that were not read from any.
    loaded = Image.Exif()
    loaded.load(exif.tobytes())
    return loaded


def parsed(exif):
    tags = Image.Exif()
    tags.load(exif)
    return tags


def kept(data):
    return decode_picture(data, "photo").metadata


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_exif_block_is_kept_byte_for_byte(kind):
    exif = exif_of(orientation=6).tobytes()
    assert kept(encode(kind, exif=exif)).exif == exif.removeprefix(blocks.PREFIX)


def test_the_tags_of_a_tiff_that_tell_about_the_picture_become_an_exif_block():
    exif = exif_of()
    exif[0x8298] = "© owner".encode("latin-1")
    tags = parsed(kept(encode("TIFF", exif=exif)).exif)
    assert (tags[0x010F], tags[0x8298]) == ("Maker", "© owner")
    assert tags.get_ifd(0x8769) == exif.get_ifd(0x8769)
    assert tags.get_ifd(0x8825) == exif.get_ifd(0x8825)
    # None of those that say where the samples are.
    assert set(tags) == {0x0112, 0x010F, 0x8298, 0x8769, 0x8825}


def test_the_exif_block_that_imagemagick_writes_into_a_text_is_read():
    exif = exif_of(orientation=3).tobytes()
    info = PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n", zip=True)
    picture = decode_picture(encode(pnginfo=info), "photo")
    assert picture.metadata.exif == exif.removeprefix(blocks.PREFIX)
    assert picture.orientation == 3
    assert picture.metadata.png_chunks == ()


@pytest.mark.parametrize("kind", WITH_EXIF)
def test_colour_profile_and_density_are_kept(kind):
    metadata = kept(encode(kind, icc_profile=PROFILE, dpi=(300, 150)))
    assert metadata.icc == PROFILE
    if kind != "WEBP":
        assert metadata.dpi == pytest.approx((300, 150), rel=1e-4)
    assert kept(encode(kind)) == Metadata()


def test_densities_follow_the_axes():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert kept(encode("JPEG", dpi=(300, 150), exif=exif)).dpi == (150, 300)


def test_an_impossible_density_is_left_out():
    assert kept(encode("TIFF", dpi=(IFDRational(0, 0), 300))).dpi is None


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
    picture = decode_picture(encode(kind, **options), "photo")
    assert picture.metadata.xmp == XMP
    assert picture.metadata.png_chunks == ()
    assert picture.orientation == 6
    assert picture.pixels.shape == (14, 10, 3)


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
    assert kept(moved) == kept(png)
    assert kept(png).xmp == XMP


def test_texts_and_colours_of_a_png_are_kept():
    info = PngInfo()
    info.add(b"gAMA", (45455).to_bytes(4))
    info.add_text("Author", "somebody")
    info.add_text("Title", "packed", zip=True)
    info.add_itxt("Comment", "\N{SNOWMAN}")
    # Not known to be harmless, so left out.
    info.add(b"teSt", b"private")
    chunks = kept(encode(pnginfo=info)).png_chunks
    assert [name for name, _ in chunks] == [b"gAMA", b"tEXt", b"zTXt", b"iTXt"]
    assert chunks[1] == (b"tEXt", b"Author\0somebody")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("exif", "orientation"),
    [
        (exif_of(6).tobytes()[:30], 1),
        (b"Exif\0\0no block", 1),
        # All is there but what the link to a second directory points to.
        (b"Exif\0\0" + blocks.with_orientation(b"", 6)[:-4] + b"\0\0\1\0", 6),
    ],
)
@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Corrupt EXIF data")
def test_a_damaged_exif_block_does_not_spoil_the_picture(kind, exif, orientation):
    picture = decode_picture(encode(kind, exif=exif), "photo")
    assert picture.notes == ("its EXIF block is damaged and left out",)
    assert picture.metadata.exif == b""
    assert picture.orientation == orientation
    assert picture.pixels.shape == (RGB if orientation == 1 else RGB.swapaxes(0, 1)).shape


def test_previews_are_left_out_of_all_blocks():
    """A file as cameras write them, with small copies of the picture in two places."""
    preview = encode("JPEG")
    head = b"MM\0*" + (8).to_bytes(4) + (0).to_bytes(2) + (14).to_bytes(4)
    entries = [(0x0201, 44), (0x0202, len(preview))]
    second = (2).to_bytes(2) + b"".join(
        tag.to_bytes(2) + (4).to_bytes(2) + (1).to_bytes(4) + value.to_bytes(4)
        for tag, value in entries
    )
    exif = head + second + bytes(4) + preview
    assert exif.index(preview) == 44
    xmp = b"<xmpGImg:image>" + preview[:20].hex().encode() + b"</xmpGImg:image>"
    data = encode("JPEG", exif=b"Exif\0\0" + exif, xmp=xmp)
    assert data.count(preview) == 1
    metadata = kept(data)
    assert metadata.exif == head[:10] + bytes(len(exif) - 10)
    assert metadata.xmp == b"<xmpGImg:image></xmpGImg:image>"
