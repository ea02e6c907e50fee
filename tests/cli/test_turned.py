"""Protected files that a viewer has marked as turned: the raster lies as before."""

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from raeg_jax.image_file.read import read_image_file
from tests.cli.conftest import pixels, save

# With room for a payload in the pixels, and without.
SIZES = {"pixels": (30, 20), "chunk": (12, 9)}


def turn(path, orientation):
    """Writes a tag into a file."""
    exif, info = Image.Exif(), PngInfo()
    exif[0x0112] = orientation
    with Image.open(path) as image:
        image.load()
        for name, content in getattr(image, "private_chunks", ()):
            info.add(name, content)
    image.save(path, exif=exif, pnginfo=info, dpi=image.info.get("dpi"), lossless=True, exact=True)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize(
    ("payload", "suffix"),
    [("pixels", ".png"), ("pixels", ".webp"), ("pixels", ".tiff"), ("chunk", ".png")],
)
def test_the_pixels_come_back(raeg, tmp_path, payload, suffix, orientation):
    image = np.dstack([pixels(1, *SIZES[payload]), pixels(2, *SIZES[payload])[..., 0]])
    original = save(tmp_path / "photos" / "a.png", image, dpi=(300, 150))
    out = tmp_path / "out"
    raeg("protect", original.parent, out, "--format", suffix[1:])
    turn(out / f"a{suffix}", orientation)
    assert read_image_file(out / f"a{suffix}").orientation == orientation
    result = raeg("recover", out, tmp_path / "back")
    assert f"payload in the pixels of {'1' if payload == 'pixels' else '0'}" in result.out
    with Image.open(tmp_path / "back" / "a.png") as back:
        np.testing.assert_array_equal(np.asarray(back), image)
        assert back.getexif().get(0x0112, 1) == 1
        if suffix != ".webp":
            assert back.info["dpi"] == pytest.approx((300, 150), rel=1e-4)
    raeg("verify", out, "--originals", tmp_path / "photos")


@pytest.mark.parametrize("payload", SIZES)
def test_they_are_known_as_protected(raeg, tmp_path, payload):
    original = save(tmp_path / "a.png", pixels(1, *SIZES[payload]))
    protected = tmp_path / "protected.png"
    raeg("protect", original, protected)
    turn(protected, 6)
    shown = raeg("inspect", protected, "--key", raeg.key).out
    assert ("hidden in the pixels" if payload == "pixels" else "in a PNG chunk") in shown
    result = raeg("protect", protected, tmp_path / "twice.png", status=1)
    assert "protected.png is protected already" in result.err
    raeg("keygen", tmp_path / "other.key")
    other = ("recover", protected, tmp_path / "back.png", "--key", tmp_path / "other.key")
    assert "locked by the key" in raeg(*other, status=1).err


def test_a_photograph_that_is_to_be_turned_was_never_protected(raeg, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    original = save(tmp_path / "a.png", pixels(), exif=exif)
    for command in (("recover", original, tmp_path / "back.png"), ("verify", original)):
        raeg(*command, status=1)
    result = raeg("inspect", original, status=2)
    assert "a.png: no payload is in the pixels" in result.err
