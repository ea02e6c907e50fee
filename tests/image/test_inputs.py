"""Which images and labels are accepted, and which are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.image import metrics
from raeg_jax.image.inputs import as_images, as_labels
from raeg_jax.image.jpeg import jpeg

UNIT = np.random.default_rng(0).uniform(0, 1, (2, 16, 16, 3))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64, np.float32])
def test_any_real_type_becomes_float32(dtype):
    (found,) = as_images((255 * UNIT).astype(dtype))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, (255 * UNIT).astype(dtype), rtol=1e-6)


@pytest.mark.parametrize(
    "measure",
    [
        lambda x: jpeg(x, 50),
        lambda x: metrics.psnr(x, x / 2),
        lambda x: metrics.psnr(0 * x, np.ones_like(x)),
        lambda x: metrics.ssim(x, x),
    ],
)
def test_images_within_0_and_1_are_refused(measure):
    with pytest.raises(
        ValueError, match=r"within 0\.\.1, but count in 0\.\.255: multiply them by 255"
    ):
        measure(UNIT)


@pytest.mark.parametrize(
    "images", [np.zeros((1, 2, 2, 3)), np.ones((1, 2, 2, 3), np.uint8), UNIT - 0.5, 2 * UNIT]
)
def test_black_and_nearly_black_images_are_taken(images):
    assert as_images(images)[0].shape == images.shape


def test_inside_jit_values_are_not_looked_at():
    found, _ = jax.jit(lambda x: as_images(x, jnp.zeros((1, 2, 2, 3))))(UNIT)
    np.testing.assert_array_equal(found, jnp.float32(UNIT))


def test_images_have_four_axes():
    with pytest.raises(ValueError, match=r"\[B, H, W, C\], not \[16, 16, 3\]"):
        as_images(UNIT[0])


@pytest.mark.parametrize("labels", [[1], [[1], [2]], [0.5, 1.0]])
def test_labels_are_one_whole_number_an_image(labels):
    with pytest.raises(ValueError, match="one whole number for each of 2 images"):
        as_labels(labels, UNIT)
