"""JPEG against Pillow, which is libjpeg."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from PIL import Image

from raeg_jax.image import metrics
from raeg_jax.image.jpeg import _CHROMA_TABLE, _LUMA_TABLE, jpeg, quantisation_table

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea")
compiled = jax.jit(jpeg)
gradient_of_jpeg = jax.jit(jax.grad(lambda x, weights, quality: (weights * jpeg(x, quality)).sum()))


def save(image, quality):
    """The bytes of uint8 [H, W, 3] as a 4:2:0 JPEG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=2)
    return file


def pillow_jpeg(image, quality):
    return np.asarray(Image.open(save(image, quality)))


def crop(height, width):
    return np.ascontiguousarray(skimage.data.coffee()[100 : 100 + height, 200 : 200 + width])


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("quality", [1, 10, 25, 50, 75, 90, 100])
def test_photographs_are_those_of_pillow(name, quality):
    image = getattr(skimage.data, name)()
    y = compiled(jnp.float32(image)[None], quality)
    np.testing.assert_array_equal(y[0], pillow_jpeg(image, quality))


@pytest.mark.parametrize("quality", [1, 5, 25, 50, 75, 90, 100])
def test_crops_are_those_of_pillow(quality):
    """Small images, of which one coefficient that is rounded the other way changes much."""
    coffee, random = skimage.data.coffee(), np.random.default_rng(0)
    corners = [
        (189, 75),
        *zip(random.integers(0, 336, 40), random.integers(0, 536, 40), strict=True),
    ]
    crops = np.stack([coffee[i : i + 64, j : j + 64] for i, j in corners])
    y = compiled(jnp.float32(crops), quality)
    np.testing.assert_array_equal(y, [pillow_jpeg(image, quality) for image in crops])


@pytest.mark.parametrize(
    "size",
    [(1, 1), (3, 5), (5, 6), (17, 33), (31, 47), (40, 20), (23, 9), (24, 56), (20, 22), (19, 21)],
)
def test_sizes_that_are_no_multiple_of_the_block(size):
    """Samples of all values, and black and white ones, of which coefficients are largest."""
    images = np.random.default_rng(1).integers(0, 256, (40, *size, 3), dtype=np.uint8)
    images[20:] = np.where(images[20:] > 127, 255, 0)
    for quality in (1, 30, 80):
        y = compiled(jnp.float32(images), quality)
        np.testing.assert_array_equal(y, [pillow_jpeg(image, quality) for image in images])


@pytest.mark.parametrize("quality", [1, 7, 25, 49, 50, 51, 75, 90, 99, 100])
def test_tables_are_those_of_pillow(quality):
    tables = Image.open(save(crop(16, 16), quality)).quantization
    np.testing.assert_array_equal(quantisation_table(_LUMA_TABLE, quality), tables[0])
    np.testing.assert_array_equal(quantisation_table(_CHROMA_TABLE, quality), tables[1])


@pytest.mark.parametrize("quality", [1, 25, 50, 75, 90, 100])
def test_constant_images_are_those_of_pillow(quality):
    greys = np.arange(0, 256, 15)[:, None] * [1, 1, 1]
    colours = [(128, 128, 128), (200, 30, 77), (255, 0, 0), (0, 0, 255), (3, 250, 128)]
    values = np.concatenate([greys, colours])[:, None, None]
    images = np.broadcast_to(values, (len(values), 24, 40, 3)).astype(np.uint8)
    y = compiled(jnp.float32(images), quality)
    np.testing.assert_array_equal(y, [pillow_jpeg(image, quality) for image in images])
    # The first coefficient's step is at most one grey level here.
    unchanged = slice(len(greys) + 1) if quality >= 75 else len(greys)
    np.testing.assert_array_equal(y[unchanged], images[unchanged])


def test_output_is_on_the_8_bit_grid():
    x = jax.random.uniform(jax.random.key(0), (2, 20, 24, 3), minval=-40.0, maxval=300.0)
    y = np.asarray(compiled(x, 40))
    np.testing.assert_array_equal(y, np.clip(np.round(y), 0, 255))
    file = np.asarray(jnp.clip(jnp.round(x), 0, 255))
    np.testing.assert_array_equal(compiled(file, 40), y)


def test_quality_is_traced_rounded_and_clipped():
    x = jnp.float32(crop(16, 24))[None]
    traces = []
    fresh = jax.jit(lambda x, quality: traces.append(quality) or jpeg(x, quality))
    results = [fresh(x, quality) for quality in (10, 60, 100)]
    assert len(traces) == 1
    distances = [float(metrics.mse(x, y)[0]) for y in results]
    assert distances == sorted(distances, reverse=True)
    np.testing.assert_array_equal(fresh(x, 59.7), fresh(x, 60))
    np.testing.assert_array_equal(fresh(x, -5), fresh(x, 1))
    np.testing.assert_array_equal(fresh(x, 300), fresh(x, 100))


@pytest.mark.parametrize("quality", [1, 50, 95])
@pytest.mark.parametrize("kind", ["photograph", "black", "white", "noise"])
def test_gradient_is_finite_and_useful(quality, kind):
    x = {
        "photograph": jnp.float32(crop(24, 40))[None],
        "black": jnp.zeros((1, 24, 40, 3)),
        "white": jnp.full((1, 24, 40, 3), 255.0),
        "noise": 255 * jax.random.uniform(jax.random.key(0), (1, 24, 40, 3)),
    }[kind]
    weights = jax.random.normal(jax.random.key(1), x.shape)
    gradient = gradient_of_jpeg(x, weights, quality)
    assert np.isfinite(gradient).all()
    # The straight-through codec is a linear map; grey passes unchanged, colour is smoothed.
    np.testing.assert_allclose(gradient.sum(-1), weights.sum(-1), atol=0.02)


def test_needs_three_channels():
    with pytest.raises(ValueError, match="RGB"):
        jpeg(jnp.zeros((1, 16, 16, 1)), 50)
