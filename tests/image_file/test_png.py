"""Chunks of PNG files are read and joined, damage is told, and what Pillow refuses left out."""

import io

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import MAX_TEXT_CHUNK, PngInfo

from raeg_jax.errors import UserError
from raeg_jax.image_file import png
from raeg_jax.image_file.read import decode_image_file
from tests.image_file.files import LOSSLESS, RGB, encode, put_chunk

TEXT = "a text in it is left out: programs that read PNG refuse one so large"


def test_a_file_taken_apart_and_joined_is_the_same():
    data = encode(icc_profile=b"profile", dpi=(300, 300))
    chunks = list(png.read_chunks(data))
    assert [kind for kind, _ in chunks] == [b"IHDR", b"iCCP", b"pHYs", b"IDAT", b"IEND"]
    assert png.join_chunks(chunks) == data


@pytest.mark.parametrize("payload", [b"", b"\0", b"IEND", bytes(range(256)) * 300], ids=len)
def test_others_overlook_a_payload_in_a_chunk_of_its_own(payload):
    data = put_chunk(encode(), payload)
    assert dict(png.read_chunks(data))[png.PAYLOAD_CHUNK] == payload
    assert decode_image_file(data, "photo").payload_chunk == payload
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(np.asarray(image), RGB)
        # Pillow, which knows nothing of it, finds it and checks it too.
        assert (png.PAYLOAD_CHUNK, payload) in image.private_chunks


def test_the_name_has_the_properties_it_needs():
    # The sixth bit of each letter: ancillary, private, reserved, safe to copy.
    assert [bool(letter & 32) for letter in png.PAYLOAD_CHUNK] == [True, True, False, True]


def test_any_flipped_byte_of_a_chunk_is_told():
    data = put_chunk(encode(), b"payload")
    start = data.index(png.PAYLOAD_CHUNK)
    for at in range(start, start + 4 + len(b"payload") + 4):
        damaged = bytearray(data)
        damaged[at] ^= 1
        with pytest.raises(UserError, match=r"photo\.png is damaged, .* copy it again"):
            list(png.read_chunks(bytes(damaged), "photo.png"))


def test_every_truncation_is_told_when_its_chunk_comes():
    data = put_chunk(encode(), b"payload")
    end = data.index(png.PAYLOAD_CHUNK) + 4 + len(b"payload") + 4
    for length in range(len(png.SIGNATURE), end):
        with pytest.raises(UserError, match=r"photo\.png is truncated: copy it again"):
            list(png.read_chunks(data[:length], "photo.png"))
    found = png.read_chunks(data[:end], "photo.png")
    assert [kind for kind, _ in (next(found), next(found))] == [b"IHDR", png.PAYLOAD_CHUNK]


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("excess", [1, -1])
def test_an_image_is_read_without_a_profile_that_pillow_refuses_in_a_png(kind, excess):
    data = encode(kind, icc_profile=bytes(MAX_TEXT_CHUNK + excess), **LOSSLESS[kind])
    image = decode_image_file(data, "photo")
    np.testing.assert_array_equal(image.pixels, RGB)
    assert len(image.metadata.icc) == (0 if excess > 0 else MAX_TEXT_CHUNK - 1)
    assert image.notes == ((png.PROFILE_NOTE,) if excess > 0 else ())


@pytest.mark.parametrize(
    ("kind", "size", "packed", "refused"),
    [
        ("add_text", MAX_TEXT_CHUNK + 1, True, True),
        ("add_itxt", MAX_TEXT_CHUNK + 1, True, True),
        ("add_text", MAX_TEXT_CHUNK, True, False),
        ("add_text", 2 * MAX_TEXT_CHUNK, False, False),
        ("add_itxt", 2 * MAX_TEXT_CHUNK, False, False),
    ],
)
def test_texts_are_left_out_where_pillow_refuses_them(kind, size, packed, refused):
    info = PngInfo()
    getattr(info, kind)("Comment", "x" * size, zip=packed)
    data = encode(pnginfo=info, icc_profile=b"profile")
    if refused:
        with pytest.raises(ValueError, match="MAX_TEXT_CHUNK"):
            Image.open(io.BytesIO(data))
    image = decode_image_file(data, "photo")
    np.testing.assert_array_equal(image.pixels, RGB)
    assert image.notes == ((TEXT,) if refused else ())
    assert len(image.metadata.png_chunks) == (not refused)
    assert image.metadata.icc == b"profile"


def test_of_too_many_texts_some_are_left_out(monkeypatch):
    monkeypatch.setattr("PIL.PngImagePlugin.MAX_TEXT_MEMORY", 1000)
    monkeypatch.setattr(png, "MAX_TEXT_MEMORY", 1000)
    info = PngInfo()
    for size in (400, 500, 200, 100):
        info.add_text(f"{size} letters", "x" * size)
    data = encode(pnginfo=info)
    with pytest.raises(ValueError, match="Too much memory"):
        Image.open(io.BytesIO(data))
    image = decode_image_file(data, "photo")
    names = [content.split()[0] for _, content in image.metadata.png_chunks]
    assert names == [b"400", b"500", b"100"]
    assert image.notes == (TEXT,)


def test_a_damaged_profile_or_text_does_not_spoil_the_image():
    info = PngInfo()
    info.add(b"iCCP", b"ICC Profile\0\0not packed")
    info.add(b"zTXt", b"Comment\0\0not packed")
    info.add(b"iTXt", b"no zeros")
    image = decode_image_file(encode(pnginfo=info), "photo")
    np.testing.assert_array_equal(image.pixels, RGB)
    assert image.notes == ()


def test_who_asks_what_others_read_gets_their_refusal():
    data = encode(icc_profile=bytes(MAX_TEXT_CHUNK + 1))
    with pytest.raises(UserError, match="MAX_TEXT_CHUNK"):
        decode_image_file(data, "photo", refuse_oversized=True)
