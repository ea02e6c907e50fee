"""Defences against Pillow and SciPy, and the notation of views."""

import io

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import skimage.data
import skimage.filters
from PIL import Image

from raeg_jax.adversarial.distortions import DEFENCES, DISTORTIONS, defend, view
from raeg_jax.image import metrics

PHOTOGRAPH = np.ascontiguousarray(skimage.data.coffee()[100:147, 200:260])


def pillow_jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=2)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("name", DEFENCES)
def test_defences_map_files_to_files_image_by_image(name):
    batch = np.stack([PHOTOGRAPH, PHOTOGRAPH[::-1]])
    defended = DEFENCES[name](batch)
    assert defended.dtype == jnp.uint8
    assert defended.shape == batch.shape
    np.testing.assert_array_equal(DEFENCES[name](batch), defended)
    np.testing.assert_array_equal(DEFENCES[name](batch[::-1]), defended[::-1])


def test_none_changes_nothing():
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    np.testing.assert_array_equal(DEFENCES["none"](every), every)


def test_jpeg_is_that_of_pillow():
    defended = DEFENCES["jpeg_50"](PHOTOGRAPH[None]).astype(jnp.float32)
    psnr = {
        quality: metrics.psnr(defended, np.float32(pillow_jpeg(PHOTOGRAPH, quality))[None])[0]
        for quality in (49, 50, 51)
    }
    assert psnr[50] >= 53
    assert max(psnr, key=psnr.get) == 50


def test_blur_is_that_of_scipy():
    exact = scipy.ndimage.gaussian_filter(PHOTOGRAPH.astype(np.float64), 1.0, axes=(0, 1))
    difference = np.abs(DEFENCES["blur_1"](PHOTOGRAPH[None])[0].astype(float) - exact)
    assert difference.max() < 0.51


def test_grey_is_that_of_pillow():
    luma = np.asarray(Image.fromarray(PHOTOGRAPH).convert("L"), int)
    grey = np.asarray(DEFENCES["grey"](PHOTOGRAPH[None])[0], int)
    assert np.abs(grey - luma[..., None]).max() <= 1
    assert (grey == grey[..., :1]).all()


def test_sharpening_is_that_of_scikit_image():
    sharp = np.asarray(DEFENCES["sharpen"](PHOTOGRAPH[None])[0], float)
    for channel in range(3):
        plane = PHOTOGRAPH[..., channel].astype(np.float64)
        exact = skimage.filters.unsharp_mask(plane, 1.0, 1.0, preserve_range=True)
        assert np.abs(sharp[..., channel] - exact.clip(0, 255)).max() < 0.51


def test_cropping_is_that_of_pillow():
    height, width = PHOTOGRAPH.shape[:2]
    rows, columns = height * 3 // 4, width * 3 // 4
    top, left = (height - rows) // 2, (width - columns) // 2
    part = Image.fromarray(PHOTOGRAPH[top : top + rows, left : left + columns])
    exact = np.asarray(part.resize((width, height), Image.Resampling.BILINEAR), int)
    assert np.abs(np.asarray(DEFENCES["crop"](PHOTOGRAPH[None])[0], int) - exact).max() <= 1


def test_defences_are_applied_from_left_to_right():
    batch = PHOTOGRAPH[None]
    expected = DEFENCES["jpeg_50"](DEFENCES["grey"](batch))
    np.testing.assert_array_equal(defend(batch, "grey+jpeg_50"), expected)
    assert np.any(defend(batch, "jpeg_50+grey") != expected)
    np.testing.assert_array_equal(defend(batch, "grey"), DEFENCES["grey"](batch))


def test_median_is_that_of_scipy_and_bits_have_their_levels():
    exact = scipy.ndimage.median_filter(PHOTOGRAPH, size=(3, 3, 1))
    np.testing.assert_array_equal(DEFENCES["median_3"](PHOTOGRAPH[None])[0], exact)
    for bits in (5, 4, 3):
        kept = np.asarray(DEFENCES[f"bits_{bits}"](PHOTOGRAPH[None])[0])
        assert len(np.unique(kept)) <= 2**bits
        assert np.abs(kept.astype(int) - PHOTOGRAPH).max() <= 255 / (2**bits - 1) / 2 + 0.5


def test_rescaling_removes_what_half_the_size_cannot_hold():
    lines = np.zeros((1, 32, 32, 3), np.uint8)
    lines[:, ::2] = 200
    inner = np.asarray(DEFENCES["rescale_half"](lines))[:, 4:-4].astype(int)
    assert np.abs(inner - 100).max() < 40
    flat = np.full((1, 32, 32, 3), 77, np.uint8)
    np.testing.assert_array_equal(DEFENCES["rescale_half"](flat), flat)


def test_denoising_reduces_noise():
    flat = np.full((1, 48, 48, 3), 128.0)
    noisy = flat + np.random.RandomState(1).normal(0, 6, flat.shape)
    left = np.asarray(DEFENCES["noise_nl_means"](np.uint8(noisy)), float) - flat
    assert left.std() < 3


@pytest.mark.parametrize(
    ("name", "strength"),
    [
        ("identity", 0.0),
        ("gaussian_blur", 1.5),
        ("jpeg", 50),
        ("rescale", 0.5),
        ("bit_depth", 4),
    ],
)
def test_a_view_is_a_distortion_of_fixed_strength(name, strength):
    images = np.float32(PHOTOGRAPH[None])
    expected = DISTORTIONS[name].apply(images, strength, strength)
    np.testing.assert_array_equal(view(images, name, strength), expected)
    assert np.any(np.asarray(expected) != images) == (name != "identity")
