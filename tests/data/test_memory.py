"""Splits as arrays: the right pixels, kept for the next time, and fair subsets."""

import os
import stat

import numpy as np
import pytest

from raeg_jax import data
from raeg_jax.data import memory
from raeg_jax.data.decode import encode_png
from raeg_jax.data.memory import open_split
from raeg_jax.errors import UserError


@pytest.fixture
def split(settings, make_tree, tmp_path):
    settings.dataset = "image_folder"
    settings.source = str(make_tree(tmp_path / "in", {"a": 12, "b": 6, "c": 6}))
    return data.load(settings).train


def test_arrays_are_the_decoded_records(split, settings):
    images, labels, names = data.arrays(split, settings)
    assert (images.dtype, images.shape) == (np.uint8, (20, 16, 16, 3))
    assert labels.dtype == np.int32
    for index, record in enumerate(split):
        np.testing.assert_array_equal(images[index], data.decode.load(record["image"], 16))
        assert (labels[index], names[index]) == (record["label"], record["file_name"])


def test_second_call_maps_the_kept_file(split, settings, monkeypatch):
    images, _, _ = data.arrays(split, settings)
    monkeypatch.setattr(memory, "_decode", lambda *args: pytest.fail("decoded again"))
    np.testing.assert_array_equal(data.arrays(split, settings)[0], images)
    assert sorted(path.name for path in split.folder.glob("*.npy")) == ["train_16.npy"]
    assert not list(split.folder.glob("*.tmp"))
    # A part of them is taken from there as well.
    some, _, names = data.arrays(split, settings, max_images=7)
    np.testing.assert_array_equal(some, images[[split.file_names.index(name) for name in names]])


def test_the_kept_file_is_for_all_users(split, settings):
    before = os.umask(0o022)
    try:
        data.arrays(split, settings)
    finally:
        os.umask(before)
    assert stat.S_IMODE((split.folder / "train_16.npy").stat().st_mode) == 0o644


def test_a_cache_that_cannot_be_written_is_explained(split, settings):
    # A folder in the file's place fails for every user, root included.
    (split.folder / "train_16.npy").mkdir()
    with pytest.raises(UserError, match=r"can't be written to .*config.data.cache_dir"):
        data.arrays(split, settings)


def test_an_interrupted_write_leaves_nothing(split, settings, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(memory.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        data.arrays(split, settings)
    assert not list(split.folder.glob("*.tmp"))
    assert not list(split.folder.glob("*.npy"))


def test_large_splits_are_not_kept(split, settings):
    settings.memory_mib = 0
    assert data.arrays(split, settings)[0].shape == (20, 16, 16, 3)
    assert not list(split.folder.glob("*.npy"))


def test_subset_is_part_of_the_whole(split, settings):
    images, labels, names = data.arrays(split, settings)
    some, some_labels, some_names = data.arrays(split, settings, max_images=7)
    places = [names.index(name) for name in some_names]
    assert len(set(places)) == 7
    np.testing.assert_array_equal(some, images[places])
    np.testing.assert_array_equal(some_labels, labels[places])
    assert data.arrays(split, settings, max_images=7)[2] == some_names
    assert len(data.arrays(split, settings, max_images=500)[2]) == 20


def test_plain_lists_of_records_do_as_well(split, settings):
    images, labels, names = data.arrays(list(split), settings)
    expected = data.arrays(split, settings)
    np.testing.assert_array_equal(images, expected[0])
    np.testing.assert_array_equal(labels, expected[1])
    assert names == expected[2]


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ([10, 10, 10], 6, [2, 2, 2]),
        ([10, 10, 10], 3, [1, 1, 1]),
        ([10, 1, 10], 9, [4, 1, 4]),
        ([10, 2, 1], 13, [10, 2, 1]),
        ([1, 1, 1, 1], 2, [1, 0, 1, 0]),
    ],
)
def test_spread_is_even(sizes, count, expected):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    chosen = memory.spread(labels, count)
    assert np.bincount(labels[chosen], minlength=len(sizes)).tolist() == expected
    assert len(np.unique(chosen)) == count
    # The order of the images doesn't matter to the shares.
    mixed = np.random.default_rng(0).permutation(labels)
    again = mixed[memory.spread(mixed, count)]
    assert np.bincount(again, minlength=len(sizes)).tolist() == expected


_RANDOM = np.random.default_rng(0)
RECORDS = [
    {
        "image": encode_png(_RANDOM.integers(0, 256, (20, 24, 3), np.uint8)),
        "label": i % 3,
        "file_name": f"{i}.png",
    }
    for i in range(10)
]


@pytest.mark.parametrize("max_images", [0, 4, 100])
def test_images_are_the_same_in_memory_and_on_demand(settings, max_images):
    expected, labels, names = data.arrays(RECORDS, settings, max_images)
    opened = open_split(RECORDS, settings, max_images)
    assert isinstance(opened[0], np.ndarray)
    settings.memory_mib = 0
    on_demand = open_split(RECORDS, settings, max_images)
    assert not isinstance(on_demand[0], np.ndarray)
    for images, now_labels, now_names in (opened, on_demand):
        assert len(images) == len(expected)
        index = np.array([2, 0, 2])
        np.testing.assert_array_equal(images[index], expected[index])
        np.testing.assert_array_equal(now_labels, labels)
        assert now_names == names


def test_on_demand_nothing_else_is_decoded(settings):
    settings.memory_mib = 0
    broken = [*RECORDS[:9], {**RECORDS[9], "image": b"no image"}]
    images, _, _ = open_split(broken, settings)
    assert images[np.arange(9)].shape == (9, 16, 16, 3)
    with pytest.raises(ValueError, match="UnidentifiedImage"):
        images[np.array([9])]
