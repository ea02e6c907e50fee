"""What Pillow refuses in a PNG is left out, and nothing else is."""

import io

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import MAX_TEXT_CHUNK, PngInfo

from raeg_jax.codec import oversize
from raeg_jax.codec.picture import decode_picture
from raeg_jax.errors import UserError

RGB = np.random.default_rng(0).integers(0, 256, (10, 14, 3), np.uint8)
TEXT = "a text in it is left out: programs that read PNG refuse one so large"


def encode(kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, kind, **options)
    return buffer.getvalue()


def text(size, kind="add_text", **options):
    info = PngInfo()
    getattr(info, kind)("Comment", "x" * size, **options)
    return info


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_picture_is_read_without_its_too_large_profile(kind):
    lossless = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = encode(kind, icc_profile=bytes(MAX_TEXT_CHUNK + 1), **lossless)
    picture = decode_picture(data, "photo")
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert picture.metadata.icc == b""
    assert picture.notes == (oversize.PROFILE_NOTE,)
    large = decode_picture(encode(kind, icc_profile=bytes(MAX_TEXT_CHUNK - 1), **lossless), "photo")
    assert len(large.metadata.icc) == MAX_TEXT_CHUNK - 1
    assert large.notes == ()


@pytest.mark.parametrize("kind", ["add_text", "add_itxt"])
def test_a_picture_is_read_without_a_packed_text_that_is_too_large(kind):
    data = encode(pnginfo=text(MAX_TEXT_CHUNK + 1, kind, zip=True), icc_profile=b"profile")
    with pytest.raises(ValueError, match="MAX_TEXT_CHUNK"):
        Image.open(io.BytesIO(data))
    picture = decode_picture(data, "photo")
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert picture.notes == (TEXT,)
    assert picture.metadata.png_chunks == ()
    assert picture.metadata.icc == b"profile"


@pytest.mark.parametrize(
    "info",
    [
        text(MAX_TEXT_CHUNK, zip=True),
        text(2 * MAX_TEXT_CHUNK),
        text(2 * MAX_TEXT_CHUNK, "add_itxt"),
    ],
)
def test_texts_that_pillow_reads_are_kept(info):
    picture = decode_picture(encode(pnginfo=info), "photo")
    assert len(picture.metadata.png_chunks) == 1
    assert picture.notes == ()


def test_of_too_many_texts_some_are_left_out(monkeypatch):
    for module in ("PIL.PngImagePlugin", "raeg_jax.codec.oversize"):
        monkeypatch.setattr(f"{module}.MAX_TEXT_MEMORY", 1000)
    info = PngInfo()
    for size in (400, 500, 200, 100):
        info.add_text(f"{size} letters", "x" * size)
    data = encode(pnginfo=info)
    with pytest.raises(ValueError, match="Too much memory"):
        Image.open(io.BytesIO(data))
    picture = decode_picture(data, "photo")
    names = [content.split()[0] for _, content in picture.metadata.png_chunks]
    assert names == [b"400", b"500", b"100"]
    assert picture.notes == (TEXT,)


def test_a_damaged_profile_or_text_does_not_spoil_the_picture():
    info = PngInfo()
    info.add(b"iCCP", b"ICC Profile\0\0not packed")
    info.add(b"zTXt", b"Comment\0\0not packed")
    info.add(b"iTXt", b"no zeros")
    picture = decode_picture(encode(pnginfo=info), "photo")
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert picture.notes == ()


def test_who_asks_what_others_read_gets_their_refusal():
    data = encode(icc_profile=bytes(MAX_TEXT_CHUNK + 1))
    with pytest.raises(UserError, match="MAX_TEXT_CHUNK"):
        decode_picture(data, "photo", as_others=True)
