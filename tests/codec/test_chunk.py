"""The private chunk: what is put in comes out, and damage is told."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from raeg_jax.codec import chunk
from raeg_jax.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8)
PAYLOADS = (b"", b"\0", b"IEND", bytes(range(256)) * 300)


def encode(image=PIXELS, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("payload", PAYLOADS, ids=len)
def test_what_is_put_comes_out_and_the_rest_stays(payload):
    plain = encode(exif=Image.Exif(), icc_profile=b"profile")
    png = chunk.put_chunk(plain, payload)
    assert chunk.get_chunk(png) == payload
    assert len(png) == len(plain) + 12 + len(payload)
    with Image.open(io.BytesIO(png)) as image:
        np.testing.assert_array_equal(np.asarray(image), PIXELS)
        assert image.info["icc_profile"] == b"profile"
        # Pillow, which knows nothing of it, finds it and checks it too.
        assert (chunk.NAME, payload) in image.private_chunks


def test_a_second_payload_replaces_the_first():
    png = chunk.put_chunk(chunk.put_chunk(encode(), b"first"), b"second")
    assert png == chunk.put_chunk(encode(), b"second")


def test_a_chunk_after_the_pixels_is_found_and_replaced():
    # Editors that copy private chunks may put them at the end.
    png = encode()
    end = png.index(b"IEND") - 4
    late = struct.pack(">I", 4) + b"raEglate" + struct.pack(">I", zlib.crc32(b"raEglate"))
    moved = png[:end] + late + png[end:]
    assert chunk.get_chunk(moved) == b"late"
    assert chunk.put_chunk(moved, b"new") == chunk.put_chunk(png, b"new")


def test_the_name_has_the_properties_it_needs():
    # The sixth bit of each letter: ancillary, private, reserved, safe to copy.
    assert [bool(letter & 32) for letter in chunk.NAME] == [True, True, False, True]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF"])
def test_other_formats_have_no_chunk(kind):
    data = encode(kind=kind)
    assert chunk.get_chunk(data) is None
    assert chunk.get_chunk(encode()) is None
    with pytest.raises(ValueError, match="only a PNG"):
        chunk.put_chunk(data, b"payload")


def test_any_flipped_byte_of_the_chunk_is_told():
    png = chunk.put_chunk(encode(), b"payload")
    start = png.index(chunk.NAME)
    for at in range(start, start + 4 + len(b"payload") + 4):
        damaged = bytearray(png)
        damaged[at] ^= 1
        with pytest.raises(UserError, match=r"photo\.png is damaged, .* copy it again"):
            chunk.get_chunk(bytes(damaged), "photo.png")


def test_damaged_pixels_are_told_where_a_payload_is_put():
    png = bytearray(encode())
    png[png.index(b"IDAT") + 10] ^= 1
    with pytest.raises(UserError, match="checksum of its chunk 'IDAT'"):
        chunk.put_chunk(bytes(png), b"payload")


def test_every_truncation_before_the_chunk_ends_is_told():
    png = chunk.put_chunk(encode(), b"payload")
    end = png.index(chunk.NAME) + 4 + len(b"payload") + 4
    for length in range(len(chunk.SIGNATURE), end):
        with pytest.raises(UserError, match=r"photo\.png is truncated: copy it again"):
            chunk.get_chunk(png[:length], "photo.png")
    assert chunk.get_chunk(png[:end], "photo.png") == b"payload"
