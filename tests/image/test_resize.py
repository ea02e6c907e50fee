"""Rescaling and cropping against Pillow's BILINEAR on float images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from PIL import Image

from raeg_jax.image import resize

# Sizes are traced: one compilation serves all.
rescale, crop_resize = jax.jit(resize.rescale), jax.jit(resize.crop_resize)


@pytest.fixture(scope="module")
def photograph():
    return skimage.data.coffee()[None, 100:140, 200:249].astype(np.float32)


def pillow_resize(image, height, width):
    """Resizes float32 [H, W, C] without rounding."""
    channels = [
        Image.fromarray(np.ascontiguousarray(c)).resize((width, height), Image.Resampling.BILINEAR)
        for c in np.moveaxis(image, -1, 0)
    ]
    return np.stack([np.asarray(c) for c in channels], -1)


@pytest.mark.parametrize("factor", [0.1, 0.25, 0.5, 0.61, 0.9, 1.0])
def test_rescale_agrees_with_pillow(photograph, factor):
    _, H, W, _ = photograph.shape
    small = pillow_resize(photograph[0], round(H * factor), round(W * factor))
    expected = pillow_resize(small, H, W)
    np.testing.assert_allclose(rescale(photograph, factor)[0], expected, atol=2e-2)


@pytest.mark.parametrize("box", [(0, 0, 40, 49), (3, 5, 20, 31), (39, 0, 1, 49), (17, 30, 23, 19)])
def test_crop_resize_agrees_with_pillow(photograph, box):
    top, left, height, width = box
    _, H, W, _ = photograph.shape
    crop = photograph[0, top : top + height, left : left + width]
    expected = pillow_resize(crop, H, W)
    np.testing.assert_allclose(crop_resize(photograph, *box)[0], expected, atol=2e-2)
    for shape in ((60, 70), (12, 21)):
        resized = resize.crop_resize(photograph, *box, shape)[0]
        np.testing.assert_allclose(resized, pillow_resize(crop, *shape), atol=2e-2)


def test_full_size_is_the_identity(photograph):
    _, H, W, _ = photograph.shape
    np.testing.assert_allclose(rescale(photograph, 1.0), photograph, atol=1e-3)
    np.testing.assert_allclose(crop_resize(photograph, 0, 0, H, W), photograph, atol=1e-3)


@pytest.mark.parametrize("factor", [0.0, 0.001, 5.0])
def test_rescale_stays_between_one_pixel_and_the_full_size(photograph, factor):
    y = np.asarray(rescale(photograph, factor))
    if factor > 1:
        np.testing.assert_allclose(y, photograph, atol=1e-3)
    else:
        one_pixel = pillow_resize(pillow_resize(photograph[0], 1, 1), *photograph.shape[1:3])
        np.testing.assert_allclose(y[0], one_pixel, atol=2e-2)


def test_constant_images_stay_constant():
    x = jnp.broadcast_to(jnp.array([0.0, 128.0, 255.0]), (1, 24, 33, 3))
    np.testing.assert_allclose(rescale(x, 0.37), x, rtol=1e-5)
    np.testing.assert_allclose(crop_resize(x, 4, 7, 11, 13), x, rtol=1e-5)


def test_gradient_reaches_the_crop_only(photograph):
    def total(x):
        return resize.crop_resize(x, 10, 5, 20, 30).sum()

    gradient = np.array(jax.grad(total)(photograph))
    assert (gradient[0, 10:30, 5:35] > 0).all()
    gradient[0, 10:30, 5:35] = 0
    np.testing.assert_array_equal(gradient, 0)
