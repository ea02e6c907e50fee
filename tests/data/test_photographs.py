"""Crops of scikit-image's photographs: disjoint, balanced, the same every time."""

import numpy as np
import pytest
import skimage.data

from raeg_jax import data
from raeg_jax.data import photographs
from raeg_jax.errors import UserError


@pytest.fixture(scope="module")
def listing():
    return photographs.Photographs.list_source(None, None)


def test_counts_and_classes(listing):
    assert listing.class_names == (
        *("astronaut", "chelsea", "coffee", "hubble_deep_field"),
        *("ihc", "motorcycle", "retina", "rocket"),
    )
    for train, count in ((True, 200), (False, 40)):
        labels = [entry.label for entry in listing.entries if entry.train == train]
        assert np.bincount(labels).tolist() == [count] * 8


def test_no_pixel_is_in_both_splits(listing):
    for label in range(8):
        entries = [entry for entry in listing.entries if entry.label == label]
        height, width = photographs._photograph(entries[0].path).shape[:2]
        seen = {True: np.zeros((height, width), bool), False: np.zeros((height, width), bool)}
        for entry in entries:
            left, top, right, bottom = entry.box
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            assert right - left == bottom - top >= 48
            seen[entry.train][top:bottom, left:right] = True
        assert not (seen[True] & seen[False]).any()
        # Both cover their region: most of the photograph is used.
        assert (seen[True] | seen[False]).mean() > 0.8


def test_crops_are_pixels_of_the_photographs(listing):
    builder = object.__new__(photographs.Photographs)
    entry = next(entry for entry in listing.entries if entry.file_name.startswith("astronaut"))
    left, top, right, bottom = entry.box
    expected = data.decode.fit(skimage.data.astronaut()[top:bottom, left:right], 64)
    np.testing.assert_array_equal(data.decode.to_rgb(builder.read(entry)), expected)


def test_loads(settings):
    settings.image_size = 32
    splits = data.load(settings)
    assert (len(splits.train), len(splits.test), splits.num_classes) == (1600, 320, 8)
    assert splits.skipped == ()
    images, labels, names = data.arrays(splits.test, settings)
    assert images.shape == (320, 32, 32, 3)
    assert names[0] == "astronaut/test_000.png"
    # A nearest-mean classifier on colour alone beats chance by far: the classes are learnable.
    train_images, train_labels, _ = data.arrays(splits.train, settings)
    moments = [
        np.concatenate([x.mean((1, 2)), x.std((1, 2))], -1)
        for x in (train_images.astype(float), images.astype(float))
    ]
    means = np.stack([moments[0][train_labels == label].mean(0) for label in range(8)])
    distances = np.linalg.norm(moments[1][:, None] - means, axis=-1)
    assert (distances.argmin(-1) == labels).mean() > 0.4


def test_missing_photographs_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(photographs.skimage, "data_dir", str(tmp_path))
    with pytest.raises(UserError, match=r"lacks astronaut.png, .*reinstall"):
        photographs.Photographs.list_source(None, None)
