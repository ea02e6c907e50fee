"""The functions for arrays, as users call them."""

import os

import numpy as np
import pytest
from PIL import Image

import raeg_jax
from raeg_jax.errors import UserError
from raeg_jax.payload.errors import NotAPayloadError
from tests.payload.payloads import KEY
from tests.protection.generators import photographs, quick


def test_arrays_of_any_sizes_are_protected_and_come_back():
    bundle = quick()
    images = [*photographs(2, 32, 32), *photographs(1, 5, 7)]
    protected = raeg_jax.protect(images, bundle, KEY, labels=[0, 1, 2], batch_size=3)
    assert all(np.any(one.pixels != x) for one, x in zip(protected, images, strict=True))
    given = [one.pixels for one in protected]
    recovered = raeg_jax.recover(given, bundle, KEY, blobs=[one.blob for one in protected])
    for image, found in zip(images, recovered, strict=True):
        np.testing.assert_array_equal(found.pixels, image)
    assert [one.label for one in recovered] == [0, 1, 2]
    with pytest.raises(NotAPayloadError, match="image 2: no payload is in the pixels"):
        raeg_jax.recover(given, bundle, KEY)


@pytest.fixture(scope="module")
def protected():
    """One image with its payload in the pixels, and one without room for it."""
    images = [*photographs(1, 32, 32), *photographs(1, 5, 7)]
    return images, raeg_jax.protect(images, quick(), KEY, labels=[0, 1], batch_size=3)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_saved_images_come_back(tmp_path, protected, suffix):
    (image, small), (inside, beside) = protected
    assert (inside.in_pixels, beside.in_pixels) == (True, False)
    path, other = tmp_path / f"inside{suffix}", tmp_path / f"beside{suffix}"
    path.write_bytes(b"an older file")
    raeg_jax.save(inside, path)
    files = [path]
    if suffix == ".png":
        raeg_jax.save(beside, str(other))
        files.append(str(other))
    else:
        with pytest.raises(UserError, match=r"beside.*: only PNG holds the payload .*: use \.png$"):
            raeg_jax.save(beside, other)
    assert len(os.listdir(tmp_path)) == len(files)
    # As somebody else writes it anew; arrays and files may be mixed.
    with Image.open(path) as opened:
        opened.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=turned())
        opened.save(tmp_path / "anew.png", optimize=True)
    files += [tmp_path / "anew.png", tmp_path / "turned.png", inside.pixels]
    expected = [image, small][: len(files) - 3] + [image] * 3
    for found, original in zip(raeg_jax.recover(files, quick(), KEY), expected, strict=True):
        np.testing.assert_array_equal(found.pixels, original)


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_files_whose_payload_is_lost_or_given(tmp_path, protected):
    (_, small), (_, beside) = protected
    path = tmp_path / "photo.png"
    Image.fromarray(beside.pixels).save(path)
    with pytest.raises(NotAPayloadError, match="image 0: no payload is in the pixels"):
        raeg_jax.recover([path], quick(), KEY)
    (found,) = raeg_jax.recover([path], quick(), KEY, blobs=[beside.blob])
    np.testing.assert_array_equal(found.pixels, small)
    with pytest.raises(UserError, match="doesn't exist"):
        raeg_jax.recover([tmp_path / "missing.png"], quick(), KEY)
    with pytest.raises(UserError, match="image 1 is list, not a NumPy array"):
        raeg_jax.recover([path, [1]], quick(), KEY, blobs=[beside.blob, None])
    with pytest.raises(UserError, match=r"^gs://b/a\.png is a URL"):
        raeg_jax.recover(["gs://b/a.png"], quick(), KEY)
    with pytest.raises(UserError, match=r"^gs://b/a\.png is a URL"):
        raeg_jax.save(beside, "gs://b/a.png")
    with pytest.raises(UserError, match=r"JPEG changes pixels"):
        raeg_jax.save(beside, tmp_path / "photo.jpg")
    with pytest.raises(UserError, match=r"can't be written \(No such file"):
        raeg_jax.save(beside, tmp_path / "missing" / "photo.png")


def test_other_names_are_still_unknown():
    with pytest.raises(AttributeError, match="'raeg_jax' has no attribute 'recovery'"):
        _ = raeg_jax.recovery
