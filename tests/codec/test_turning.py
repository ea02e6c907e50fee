"""Orientations are applied as Pillow applies them, and undone exactly."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from raeg_jax.codec import turning

RASTER = np.random.default_rng(0).integers(0, 256, (4, 7, 3), np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_as_pillow_does(orientation):
    image = Image.fromarray(RASTER)
    image.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(turning.upright(RASTER, orientation), expected)
    assert turning.swaps_axes(orientation) == (expected.shape != RASTER.shape)


@pytest.mark.parametrize("orientation", turning.ORIENTATIONS)
@pytest.mark.parametrize("raster", [RASTER, RASTER[..., 0]], ids=["colour", "plane"])
def test_turning_back_is_the_inverse(orientation, raster):
    image = turning.upright(raster, orientation)
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(turning.stored(image, orientation), raster)


def test_the_eight_orientations_differ():
    turned = {turning.upright(RASTER, each).tobytes() for each in turning.ORIENTATIONS}
    assert tuple(range(1, 9)) == turning.ORIENTATIONS
    assert len(turned) == 8
