"""What of a file's metadata gets lost is named, once."""

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from raeg_jax.codec.picture import decode_picture, read_picture
from raeg_jax.codec.writing import lost, write_picture
from tests.image_file.files import put_chunk

RGB = np.random.default_rng(0).integers(0, 256, (10, 14, 3), np.uint8)
XMP = b'<x:xmpmeta dc:title="kept"/>'
EXIF = b"MM\0*\0\0\0\x08\0\1\1\x3b\0\2\0\0\0\3me\0\0\0\0\0\0"


def encode(kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, kind, **options)
    return buffer.getvalue()


def texts(**contents):
    info = PngInfo()
    for name, content in contents.items():
        info.add_text(name.replace("_", " "), content)
    return encode(pnginfo=info)


def segment(marker, content):
    jpeg = encode("JPEG")
    return jpeg[:2] + struct.pack(">BBH", 255, marker, 2 + len(content)) + content + jpeg[2:]


def raw(kind, content):
    return texts(**{f"Raw_profile_type_{kind}": f"\n{kind}\n{len(content):8}\n{content.hex()}\n"})


def coloured():
    data = put_chunk(encode(dpi=(300, 150)), (45455).to_bytes(4), b"gAMA")
    return put_chunk(put_chunk(data, bytes((9, 16, 0, 1)), b"cICP"), b"somewhere", b"plCe")


def riff(name):
    webp = encode("WEBP")
    return webp[:4] + struct.pack("<I", len(webp)) + webp[8:] + name + bytes(4)


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
# What is said of a file written as PNG, WebP, TIFF.
SAID = {
    "nothing": (encode(), "", "", ""),
    "texts": (texts(prompt="{}", parameters="☃"), "", f"WebP {PROMPTS}", f"TIFF {PROMPTS}"),
    "colours": (
        coloured(),
        "left out: plCe",
        "left out: plCe; WebP has no place for cICP, gAMA, dots per inch",
        "left out: plCe; TIFF has no place for cICP, gAMA",
    ),
    "aspect": (put_chunk(encode(), struct.pack(">IIB", 2, 1, 0), b"pHYs"),)
    + ("left out: the aspect ratio of its pixels",) * 3,
    "IPTC": (segment(0xED, b"Photoshop 3.0\x008BIM\4\4caption"),) + ("left out: IPTC data",) * 3,
    "IPTC in a text": (raw("iptc", b"caption"),) + ("left out: IPTC data",) * 3,
    "a damaged text": (texts(Raw_profile_type_xmp="\nxmp\n3\nxyz"),)
    + ("left out: the text 'Raw profile type xmp', which is damaged",) * 3,
    "extended XMP": (segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0..."),)
    + ("left out: extended XMP data",) * 3,
    "damaged XMP": (encode("WEBP", xmp=b"<\0x\0."),)
    + ("left out: its XMP data, which are damaged",) * 3,
    "a comment": (encode("JPEG", comment=b"said"), "", f"WebP {COMMENT}", f"TIFF {COMMENT}"),
    "a GIF": (encode("GIF", comment="wörtlich"), "", f"WebP {COMMENT}", f"TIFF {COMMENT}"),
    "a TIFF": (tagged(),) + ("left out: DocumentName, IptcNaaInfo",) * 3,
    "a BMP": (bitmap_with_profile(),) + ("left out: its colour profile",) * 3,
    "a PPM": (b"P6\n# said\n14 10 255\n" + RGB.tobytes(),) + ("left out: a comment",) * 3,
    "many": (
        texts(**{f"key{number}": "x" for number in range(11)}),
        "",
        *(
            f"{kind} has no place for "
            + ", ".join(f"the text 'key{number}'" for number in range(8))
            + " and 3 more"
            for kind in ("WebP", "TIFF")
        ),
    ),
    "a WebP": (riff(b"\x1b[2J"),) + (r"left out: '\x1b[2J'",) * 3,
}


@pytest.mark.parametrize("what", SAID)
def test_one_note_names_what_is_lost(what):
    data, *notes = SAID[what]
    picture = decode_picture(data, "photo")
    for suffix, expected in zip((".png", ".webp", ".tiff"), notes, strict=True):
        assert lost(picture, f"photo{suffix}") == ((expected,) if expected else ())
    assert picture.notes == ()


@pytest.mark.parametrize(
    ("data", "field", "expected"),
    [
        (raw("xmp", XMP), "xmp", XMP),
        (raw("APP1", b"http://ns.adobe.com/xap/1.0/\0" + XMP), "xmp", XMP),
        (raw("APP1", b"Exif\0\0" + EXIF), "exif", EXIF),
        (raw("icc", b"a profile"), "icc", b"a profile"),
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
    picture = decode_picture(data, "photo")
    assert picture.lost == ()
    write_picture(tmp_path / "photo.png", picture)
    for one in (picture, read_picture(tmp_path / "photo.png")):
        assert getattr(one.metadata, field) == expected
