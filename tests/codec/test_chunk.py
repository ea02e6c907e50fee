"""Chunks of PNG files: what is put together comes apart again, and damage is told."""

import io

import numpy as np
import pytest
from PIL import Image

from raeg_jax.codec import chunk
from raeg_jax.errors import UserError
from tests.image_file.files import put_chunk

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8)
PAYLOADS = (b"", b"\0", b"IEND", bytes(range(256)) * 300)


def encode(**options):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_a_file_taken_apart_and_put_together_is_the_same():
    png = encode(icc_profile=b"profile", dpi=(300, 300))
    parts = list(chunk.chunks(png))
    assert [kind for kind, _ in parts] == [b"IHDR", b"iCCP", b"pHYs", b"IDAT", b"IEND"]
    assert chunk.join(parts) == png


@pytest.mark.parametrize("payload", PAYLOADS, ids=len)
def test_a_payload_in_a_chunk_of_its_own_comes_out_and_others_overlook_it(payload):
    png = put_chunk(encode(), payload)
    assert dict(chunk.chunks(png))[chunk.NAME] == payload
    with Image.open(io.BytesIO(png)) as image:
        np.testing.assert_array_equal(np.asarray(image), PIXELS)
        # Pillow, which knows nothing of it, finds it and checks it too.
        assert (chunk.NAME, payload) in image.private_chunks


def test_the_name_has_the_properties_it_needs():
    # The sixth bit of each letter: ancillary, private, reserved, safe to copy.
    assert [bool(letter & 32) for letter in chunk.NAME] == [True, True, False, True]


def test_any_flipped_byte_of_a_chunk_is_told():
    png = put_chunk(encode(), b"payload")
    start = png.index(chunk.NAME)
    for at in range(start, start + 4 + len(b"payload") + 4):
        damaged = bytearray(png)
        damaged[at] ^= 1
        with pytest.raises(UserError, match=r"photo\.png is damaged, .* copy it again"):
            list(chunk.chunks(bytes(damaged), "photo.png"))


def test_every_truncation_is_told_when_its_chunk_comes():
    png = put_chunk(encode(), b"payload")
    end = png.index(chunk.NAME) + 4 + len(b"payload") + 4
    for length in range(len(chunk.SIGNATURE), end):
        with pytest.raises(UserError, match=r"photo\.png is truncated: copy it again"):
            list(chunk.chunks(png[:length], "photo.png"))
    found = chunk.chunks(png[:end], "photo.png")
    assert [kind for kind, _ in (next(found), next(found))] == [b"IHDR", chunk.NAME]
