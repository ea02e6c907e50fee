"""JPEG in fixed point: Pillow's to the bit, in any batch, and the identity backward."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from PIL import Image

from raeg_jax.exact.jpeg import jpeg

compiled = jax.jit(jpeg)


def photographs(height=61, width=83):
    """Crops whose sides are no multiples of a block, in sixteenths."""
    crops = np.stack([skimage.data.coffee()[i : i + height, i : i + width] for i in (90, 140, 200)])
    parts = np.random.default_rng(0).integers(-7, 8, crops.shape)
    return np.float32(np.clip(crops + parts / 16, 0, 255))


def pillow_jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(np.uint8(np.round(image))).save(file, "JPEG", quality=quality, subsampling=2)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("quality", [50, 75, 90])
def test_photographs_are_those_of_pillow(quality):
    x = photographs()
    expected = [pillow_jpeg(image, quality) for image in x]
    np.testing.assert_array_equal(compiled(x, quality), expected)


def test_each_image_may_have_a_quality_of_its_own():
    x, qualities = photographs(), np.int32([50, 90, 7])
    expected = [pillow_jpeg(*pair) for pair in zip(x, qualities.tolist(), strict=True)]
    np.testing.assert_array_equal(compiled(x, qualities), expected)


def test_dark_images_are_no_images_within_0_and_1():
    x = np.float32(np.random.default_rng(0).integers(0, 2, (2, 16, 23, 3)))
    np.testing.assert_array_equal(compiled(x, 90), [pillow_jpeg(image, 90) for image in x])


def test_the_gradient_passes_unchanged():
    x = photographs(16, 24)
    weights = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    result = jax.jit(jax.grad(lambda x: jnp.sum(jpeg(x, jnp.int32(10)) * weights)))(x)
    np.testing.assert_array_equal(result, weights)
