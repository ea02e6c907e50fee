import io

import numpy as np
import pytest
from PIL import Image

from raeg_jax.evaluation.files import decode_png, encode_png, png_roundtrip


def test_roundtrip_keeps_every_sample():
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 7, 3), dtype=np.uint8)
    again, sizes = png_roundtrip(images)
    np.testing.assert_array_equal(again, images)
    assert again.dtype == np.uint8
    assert list(sizes) == [len(encode_png(image)) for image in images]


def test_the_bytes_are_a_png_file_that_others_read():
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    with Image.open(io.BytesIO(encode_png(image))) as opened:
        assert (opened.format, opened.mode) == ("PNG", "RGB")
        np.testing.assert_array_equal(np.asarray(opened), image)


def test_decoding_reads_a_file_written_by_others():
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (1, 2, 3)).save(buffer, format="PNG")
    np.testing.assert_array_equal(
        decode_png(buffer.getvalue()), np.full((2, 3, 3), [1, 2, 3], np.uint8)
    )


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 4, 4, 3), np.float32),
        np.zeros((1, 4, 4), np.uint8),
        np.zeros((1, 4, 4, 4), "u1"),
    ],
    ids=["float", "grey", "alpha"],
)
def test_other_arrays_are_refused(images):
    with pytest.raises(ValueError, match="a PNG takes uint8"):
        png_roundtrip(images)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="empty batch"):
        png_roundtrip(np.zeros((0, 4, 4, 3), np.uint8))
