import numpy as np
import pytest

from raeg_jax.data.decode import encode_png
from raeg_jax.evaluation.roundtrip import png_roundtrip


def test_roundtrip_keeps_every_sample():
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 7, 3), dtype=np.uint8)
    again, sizes = png_roundtrip(images)
    np.testing.assert_array_equal(again, images)
    assert again.dtype == np.uint8
    assert list(sizes) == [len(encode_png(image)) for image in images]


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
