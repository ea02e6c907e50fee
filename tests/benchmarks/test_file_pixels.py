import numpy as np
import pytest
from file_pixels import colours, psnr, shown, wrong_pixels
from PIL import Image

from raeg_jax.image.metrics import PSNR_CAP

RGB = np.random.RandomState(0).randint(0, 256, (4, 6, 3)).astype(np.uint8)


def saved(path, image, **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)
    return path


def test_a_file_shows_what_was_saved(tmp_path):
    for index, image in enumerate((RGB, RGB[..., 0], np.dstack([RGB, RGB[..., 1]]), RGB[..., :2])):
        np.testing.assert_array_equal(shown(saved(tmp_path / f"{index}.png", image)), image)


def test_palettes_are_colours_and_two_colours_are_grey(tmp_path):
    few = Image.fromarray(RGB).quantize(24)
    assert few.mode == "P"
    expected = np.asarray(few.convert("RGB"))
    np.testing.assert_array_equal(shown(saved(tmp_path / "p.png", few)), expected)
    clear = saved(tmp_path / "clear.png", few, transparency=0)
    assert shown(clear).shape == (4, 6, 4)
    assert (shown(clear)[..., 3] == 0).sum() == (np.asarray(few) == 0).sum()
    black = RGB[..., 0] < 128
    two = saved(tmp_path / "two.png", Image.fromarray(black))
    np.testing.assert_array_equal(shown(two), 255 * black.astype(np.uint8))


def test_a_transparent_colour_is_alpha(tmp_path):
    path = saved(tmp_path / "a.png", RGB, transparency=tuple(RGB[1, 2].tolist()))
    np.testing.assert_array_equal(np.argwhere(shown(path)[..., 3] == 0), [[1, 2]])


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, -1), (8, 1)])
def test_a_file_is_turned_as_its_exif_says(tmp_path, orientation, turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for suffix in ("png", "webp"):
        path = saved(tmp_path / f"a.{suffix}", RGB, exif=exif, lossless=True, exact=True)
        np.testing.assert_array_equal(shown(path), np.rot90(RGB, turns))


def test_a_pixel_is_wrong_if_any_sample_is():
    found = RGB.copy()
    assert wrong_pixels(RGB, found) == 0
    found[0, 0, 1] ^= 1
    found[3, 5] ^= 1
    assert wrong_pixels(RGB, found) == 2
    assert wrong_pixels(RGB[..., 0], found[..., 0]) == 1
    # Not modulo 256.
    assert wrong_pixels(RGB, RGB.astype(np.int32) + 256) == 24


def test_all_pixels_are_wrong_if_size_or_kind_are():
    assert wrong_pixels(RGB, RGB[:, ::-1].swapaxes(0, 1)) == 24
    assert wrong_pixels(RGB[..., 0], colours(RGB[..., 0])) == 24


def test_colours_leave_out_alpha():
    grey, alpha = RGB[..., 0], RGB[..., 1]
    expected = np.dstack([grey] * 3)
    np.testing.assert_array_equal(colours(grey), expected)
    np.testing.assert_array_equal(colours(np.dstack([grey, alpha])), expected)
    np.testing.assert_array_equal(colours(np.dstack([RGB, alpha])), RGB)


def test_psnr_of_a_difference_of_one_is_48_decibels():
    assert psnr(RGB, RGB ^ 1) == pytest.approx(48.1308, abs=1e-4)
    assert psnr(RGB, RGB) == PSNR_CAP
    black = np.zeros_like(RGB)
    assert psnr(black, black + np.uint8(255)) == 0
