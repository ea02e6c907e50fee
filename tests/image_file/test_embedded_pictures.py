"""No picture leaves inside metadata, whatever program put it there, and wherever."""

import base64
import io
import json
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from raeg_jax.image_file import embedded_pictures, exif
from raeg_jax.image_file.read import decode_image_file, read_image_file
from raeg_jax.image_file.write import write_image_file
from tests.image_file.files import RGB, encode, put_chunk, riff, segment, with_text
from tests.image_file.hidden_pictures import hidden_pictures

MAKERS_NOTE, USER_COMMENT = 0x927C, 0x9286
EXIF_NOTE = "its EXIF data, as a picture is in them"
MAKER = "its maker's note, as a picture is in it"
XMP_NOTE = "a picture in its XMP data"
TEXT = "the text 'prompt', as a picture is in it"


SMALL = encode("JPEG")
BASE64 = base64.b64encode(SMALL)


def put(block: bytearray, entries, following=()):
    """Appends a TIFF directory: bytes are values, ("at", bytes) lie elsewhere, dicts are others."""
    start, link = len(block), len(block) + 2 + 12 * len(entries)
    block += struct.pack("<H", len(entries)) + bytes(12 * len(entries) + 4)
    for number, (tag, value) in enumerate(sorted(entries.items())):
        kind, count = 4, 1
        if isinstance(value, dict):
            value = put(block, value)
        elif not isinstance(value, int):
            if isinstance(value, bytes):
                kind, count = 7, len(value)
            place, content = len(block), value if kind == 7 else value[1]
            block += content
            value = place
        struct.pack_into("<HHII", block, start + 2 + 12 * number, tag, kind, count, value)
    if following:
        struct.pack_into("<I", block, link, put(block, following[0], following[1:]))
    return start


def tiff(*directories):
    block = bytearray(b"II*\0\x08\0\0\0")
    put(block, directories[0], directories[1:])
    return bytes(block)


PREVIEW = {0x0201: ("at", SMALL), 0x0202: len(SMALL)}
ARTIST = {0x013B: b"somebody\0"}
UNPACKED = tiff(
    {256: 14, 257: 10, 258: 8, 262: 1, 273: ("at", RGB[..., 0].tobytes()), 277: 1, 279: 140}
)


def in_exif(*directories, kind="JPEG"):
    return encode(kind, exif=b"Exif\0\0" + tiff(*directories))


def in_note(picture, kind="JPEG"):
    return in_exif({**ARTIST, 0x8769: {MAKERS_NOTE: b"Maker\0" + picture}}, kind=kind)


def in_xmp(text, coding="utf-8"):
    packet = f'<x:xmpmeta xmlns:x="adobe:ns:meta/" dc:title="kept">{text}</x:xmpmeta>'
    return encode("JPEG", xmp=packet.encode(coding))


TEXT64 = BASE64.decode()
LINES = "&#xA;".join(TEXT64[start : start + 76] for start in range(0, len(TEXT64), 76))
HEADED = f"\nexif\n{len(SMALL):8}\n"
# What is protected, and what is told of it.
SOURCES = {
    "EXIF, first directory": (in_exif({**ARTIST, **PREVIEW}), ()),
    "EXIF, second directory": (in_exif(ARTIST, PREVIEW), ()),
    "EXIF, third directory": (in_exif(ARTIST, ARTIST, PREVIEW), ()),
    "EXIF, in a sub-directory": (in_exif({**ARTIST, 0x014A: {0x014A: PREVIEW}}), ()),
    "EXIF, in EXIF's own directory": (in_exif({**ARTIST, 0x8769: PREVIEW}), ()),
    "EXIF, pixels": (in_exif({**ARTIST, 0x8769: {MAKERS_NOTE: UNPACKED}}), (MAKER,)),
    "EXIF, a comment": (in_exif({**ARTIST, 0x8769: {USER_COMMENT: BASE64}}), (EXIF_NOTE,)),
    "maker's note, JPEG": (in_note(SMALL), (MAKER,)),
    "maker's note, PNG": (in_note(encode("PNG")), (MAKER,)),
    "maker's note, WebP": (in_note(encode("WEBP"), "PNG"), (MAKER,)),
    "maker's note, TIFF": (in_note(encode("TIFF"), "WEBP"), (MAKER,)),
    "XMP, Photoshop's": (in_xmp(f"<xmpGImg:image>{TEXT64}</xmpGImg:image>"), ()),
    "XMP, an attribute": (in_xmp(f'<x GImage:Data="{LINES}"/>'), (XMP_NOTE,)),
    "XMP, another prefix": (in_xmp(f"<ns1:image> {LINES} </ns1:image>"), (XMP_NOTE,)),
    "XMP, CDATA": (in_xmp(f"<p:image><![CDATA[{TEXT64}]]></p:image>"), (XMP_NOTE,)),
    "XMP, PNG": (in_xmp(f"<i>{base64.b64encode(encode('PNG')).decode()}</i>"), (XMP_NOTE,)),
    "XMP, UTF-16": (in_xmp(f"<i>{TEXT64}</i>", "utf-16"), (XMP_NOTE,)),
    "XMP, hexadecimal": (in_xmp(f"<i>{SMALL.hex()}</i>"), (XMP_NOTE,)),
    "XMP, in pieces": (
        in_xmp(
            "<i>" + "<!-- -->".join(TEXT64[i : i + 8] for i in range(0, len(TEXT64), 8)) + "</i>"
        ),
        ("its XMP data, as a picture is in them",),
    ),
    "Photoshop's resources": (
        segment(0xED, b"Photoshop 3.0\x008BIM\x04\x0c\0\0" + SMALL),
        ("Photoshop data",),
    ),
    "JFXX": (segment(0xE0, b"JFXX\0\x10" + SMALL), ()),
    "another segment": (segment(0xEB, b"JP\0\1" + SMALL), ("APP11 data",)),
    "a comment": (segment(0xFE, BASE64), ("the text 'Comment', as a picture is in it",)),
    "a second photograph": (
        encode("MPO", save_all=True, append_images=[Image.fromarray(RGB[::-1].copy())]),
        (),
    ),
    "after the end": (SMALL + SMALL, ()),
    "a profile": (
        encode("PNG", icc_profile=b"profile" * 9 + SMALL),
        ("its colour profile, as a picture is in it",),
    ),
    "a text": (
        with_text("prompt", json.dumps({"image": f"data:image/jpeg;base64,{TEXT64}"})),
        (TEXT,),
    ),
    "a packed text": (with_text("prompt", "x " + LINES, zip=True), (TEXT,)),
    "a text in ImageMagick's way": (
        with_text("Raw profile type exif", HEADED + tiff(ARTIST, PREVIEW).hex()),
        (),
    ),
    "a text of unknown content": (
        with_text("Raw profile type 8bim", HEADED + SMALL.hex()),
        ("Photoshop data",),
    ),
    "a chunk of its own": (put_chunk(encode("PNG"), SMALL, b"prVw"), ("prVw",)),
    "a chunk that should hold numbers": (
        put_chunk(encode("PNG"), SMALL, b"cICP"),
        ("cICP, as a picture is in it",),
    ),
    "WebP": (riff(b"THMB", SMALL), ("THMB",)),
}


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
@pytest.mark.parametrize("place", SOURCES)
def test_no_picture_is_left(tmp_path, place, suffix):
    data, names = SOURCES[place]
    assert hidden_pictures(data)
    image = decode_image_file(data, "photo")
    assert image.lost == names
    path = tmp_path / f"photo{suffix}"
    write_image_file(path, image)
    assert hidden_pictures(path.read_bytes()) == []
    again = read_image_file(path)
    if (EXIF_NOTE not in names and "EXIF" in place) or "note" in place:
        # What else was there is kept.
        assert b"somebody" in again.metadata.exif
    if "XMP" in place and names != ("its XMP data, as a picture is in them",):
        assert b'dc:title="kept"' in again.metadata.xmp


def test_a_tiff_gives_none_of_its_other_pictures(tmp_path):
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        extra = [(34377, 7, len(SMALL), SMALL, True), (50000, 7, len(SMALL), SMALL, True)]
        writer.write(RGB, photometric="rgb", subifds=1, extratags=extra)
        writer.write(RGB[::2, ::2], photometric="rgb", subfiletype=1)
    assert hidden_pictures(buffer.getvalue())
    image = decode_image_file(buffer.getvalue(), "photo")
    assert image.lost == ("PhotoshopInfo", "TIFF tag 50000")
    write_image_file(tmp_path / "photo.tiff", image)
    assert hidden_pictures((tmp_path / "photo.tiff").read_bytes()) == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000"])
def test_pictures_are_known_in_any_disguise(kind):
    data = encode(kind)
    zipped = zlib.compress(data)
    for block in (
        *(data, b"before" + data, zipped, b"q" + zipped),
        *(base64.b64encode(data), b"xyz" + base64.urlsafe_b64encode(data), data.hex().encode()),
        base64.b64encode(data).decode().encode("utf-16"),
        base64.encodebytes(base64.b64encode(zipped)),
    ):
        assert embedded_pictures.holds_picture(block)


def test_what_is_no_picture_stays():
    prose = b"A text of some length, as long as any run of base64, which says nothing at all. " * 40
    noise = np.random.default_rng(1).bytes(100_000)
    # The last steps of a tone curve, which look like the start of a JPEG.
    curve = np.linspace(0, 65535, 4096).astype(">u2").tobytes() + b"\xff\xd8\xff\xe0"
    # What escapes stand for is no base64.
    escaped = [b"search?q=" + b"%C3%A9t%C3%A9" * 9, b"tr&#232;s+&amp;+&quot;bien&quot;" * 9]
    for block in (b"", prose, noise, curve, base64.b64encode(noise), tiff(ARTIST), *escaped):
        assert not embedded_pictures.holds_picture(block)
        assert embedded_pictures.without_pictures(block) == block


def test_damaged_sub_directories_do_no_harm():
    block = tiff({**ARTIST, 0x8769: 10**6, 0x014A: 8})
    assert exif.without_preview(block) == block
    note = tiff({**ARTIST, 0x8769: {MAKERS_NOTE: SMALL}})
    assert SMALL[:99] in note
    assert SMALL[:99] not in exif.without_makers_note(note)


@pytest.mark.parametrize("prefix", [b"xmpGImg", b"xapGImg", b"GImg"])
def test_xmp_previews_are_emptied(prefix):
    packet = (
        b"<a><p:format>JPEG</p:format><p:image>/9j/4AAQ\n/9k=</p:image>"
        b'<p:image xml:lang="x">/9j/</p:image> '
        b"<b p:image=\"/9j/\" p:width='3' p:image='/9k='/></a>"
    ).replace(b"p:", prefix + b":")
    assert embedded_pictures.xmp_without_preview(packet) == (
        b"<a><p:format>JPEG</p:format><p:image></p:image>"
        b'<p:image xml:lang="x"></p:image> '
        b"<b p:image=\"\" p:width='3' p:image=''/></a>"
    ).replace(b"p:", prefix + b":")
    other = b"<Img:image>/9j/</Img:image><p:imageCount>3</p:imageCount>".replace(
        b"p:", prefix + b":"
    )
    assert embedded_pictures.xmp_without_preview(other) == other
