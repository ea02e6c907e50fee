"""All three benchmarks, on real images."""

import numpy as np
import pytest

from raeg_jax import data


def link(folder, target, classes):
    """Links some of the class folders, so that the tests stay fast."""
    target.mkdir(parents=True)
    for name in classes:
        (target / name).symlink_to(folder / name)


def check(splits, settings):
    """Every record decodes, and splits share no picture."""
    settings.image_size = 32
    assert splits.skipped == ()
    trains, tests = (
        {hash(record["image"]) for record in records} for records in (splits.train, splits.test)
    )
    assert not trains & tests
    for records in (splits.train, splits.test):
        images, labels, names = data.arrays(records, settings)
        assert images.shape == (len(records), 32, 32, 3)
        assert images.std((1, 2, 3)).min() > 1
        assert np.unique(labels).tolist() == list(range(splits.num_classes))
        assert len(set(names)) == len(names)


def test_celeba_100(settings, shared_data):
    settings.dataset = "celeba_100"
    settings.source = str(shared_data / "celeba_100")
    splits = data.load(settings)
    assert splits.num_classes == 100
    assert np.bincount(splits.train.labels).tolist() == [16] * 100
    assert np.bincount(splits.test.labels).tolist() == [4] * 100
    assert splits.class_names == tuple(sorted(splits.class_names, key=int))
    check(splits, settings)


def test_caltech101(settings, shared_data, tmp_path):
    tree = "101_ObjectCategories"
    # car_side is all grey; Faces has a capital letter.
    classes = ("car_side", "Faces", "accordion", "scissors")
    link(shared_data / "caltech101" / tree, tmp_path / "caltech" / tree, classes)
    settings.dataset = "caltech101"
    settings.source = str(tmp_path / "caltech")
    splits = data.load(settings)
    assert splits.class_names == ("accordion", "car_side", "faces", "scissors")
    assert np.bincount(splits.train.labels).tolist() == [30] * 4
    check(splits, settings)


@pytest.mark.slow
def test_all_of_caltech101(settings, shared_data):
    settings.dataset = "caltech101"
    settings.source = str(shared_data / "caltech101")
    splits = data.load(settings)
    assert splits.num_classes == 101
    assert (len(splits.train), len(splits.test)) == (3030, 939)
    check(splits, settings)


def test_mini_imagenet(settings, shared_data, tmp_path):
    classes = ("n01770081", "n13133613")
    for part in ("train", "val"):
        link(shared_data / "mini_imagenet" / part, tmp_path / "mini" / part, classes)
    names = (shared_data / "mini_imagenet" / "class_names.txt").read_text()
    (tmp_path / "mini" / "class_names.txt").write_text(names)
    settings.dataset = "mini_imagenet"
    settings.source = str(tmp_path / "mini")
    splits = data.load(settings)
    assert splits.class_names[0] == "harvestman"
    assert np.bincount(splits.train.labels).tolist() == [480] * 2
    assert np.bincount(splits.test.labels).tolist() == [120] * 2
    check(splits, settings)
