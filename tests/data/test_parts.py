"""Folders of a split, as people name them."""

import pytest

from raeg_jax import data
from raeg_jax.data import parts
from raeg_jax.data.image_folder import ImageFolder

CLASSES = {"bird": 3, "cat": 3}


@pytest.fixture
def list_folder(settings, tmp_path):
    """Function that lists `tmp_path/in`, or another folder, as an image folder."""

    def listed(folder=tmp_path / "in"):
        settings.source = str(folder)
        return ImageFolder.list_source(settings, tmp_path)

    return listed


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("TRAIN", "Valid"),
        ("train", "eval"),
        ("train", "valid"),
        ("training_set", "test_set"),
        ("Train Images", "validation-images"),
        ("trainset", "testset"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("alphabet_train/alphabet_train", "alphabet_val"),
        ("train/images", "dev/images"),
        ("data/photos/Train", "data/photos/Test"),
        ("train2017", "val2017"),
        ("train_images/train", "test_images/test"),
    ],
)
def test_splits_are_known_by_the_names_people_give_them(
    make_tree, list_folder, tmp_path, train, test
):
    make_tree(tmp_path / "in" / train, CLASSES)
    make_tree(tmp_path / "in" / test, CLASSES, first=100)
    listing = list_folder()
    assert listing.class_names == ("bird", "cat")
    assert [entry.train for entry in listing.entries] == 2 * (3 * [True] + 3 * [False])
    assert listing.warnings == ()


def test_what_holds_no_images_is_overlooked_beside_a_split(make_tree, list_folder, tmp_path):
    for part in ("train", "val"):
        make_tree(tmp_path / "in" / "data" / "images" / part, CLASSES)
        (tmp_path / "in" / "data" / "labels" / part).mkdir(parents=True)
    (tmp_path / "in" / "__MACOSX" / "train").mkdir(parents=True)
    (tmp_path / "in" / "__MACOSX" / "train" / "._0.jpg").touch()
    listing = list_folder()
    assert [entry.train for entry in listing.entries] == 2 * (3 * [True] + 3 * [False])


@pytest.mark.parametrize(
    "name", ["test_tube", "bullet_train", "contest", "traincar", "cat", "train_test", ""]
)
def test_other_names_are_not_parts(name):
    part = parts.part_of(name)
    assert part is None or part.rest


def test_classes_may_be_named_like_parts(make_tree, list_folder, tmp_path):
    make_tree(tmp_path / "in", {"train": 3, "cat": 4, "test_tube": 3})
    make_tree(tmp_path / "in" / "bullet_train", {"old": 2, "new": 2})
    listing = list_folder()
    assert listing.class_names == ("bullet_train", "cat", "test_tube", "train")
    assert (len(listing.entries), listing.notes, listing.warnings) == (14, (), ())


def test_what_lies_beside_a_split_is_counted(make_tree, list_folder, tmp_path):
    for part in ("Train", "val", "Test"):
        make_tree(tmp_path / "in" / part, CLASSES)
    make_tree(tmp_path / "in", {"car": 5})
    (note,) = list_folder().notes
    assert note == "image_folder: Test is the test part; left out: car (5 images), val (6 images)"


def test_classes_that_hold_the_same_folders_are_doubted(make_tree, list_folder, tmp_path):
    for name in ("upper", "lower"):
        make_tree(tmp_path / "in" / name, CLASSES)
    (warning,) = list_folder().warnings
    assert "all classes (lower, upper) hold the same sub-folders (bird, cat)" in warning
    # Parts whose images have no classes.
    make_tree(tmp_path / "flat", {"Training": 3, "Testing": 3})
    (warning,) = list_folder(tmp_path / "flat").warnings
    assert "(Testing, Training) are named like parts of a split" in warning


def test_circles_of_links_end(make_tree, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a").symlink_to(tmp_path / "a")
    assert parts.split_root(tmp_path) == tmp_path
    parts.inner(tmp_path / "a")


def test_mini_imagenet_merges_parts_of_any_spelling(settings, make_tree, tmp_path):
    make_tree(tmp_path / "in" / "Training", {"n1": 4})
    make_tree(tmp_path / "in" / "valid" / "valid", {"n2": 4})
    make_tree(tmp_path / "in", {"more": 2})
    settings.dataset, settings.source = "mini_imagenet", str(tmp_path / "in")
    listing = data.DATASETS["mini_imagenet"].list_source(settings, tmp_path)
    assert listing.class_names == ("n1", "n2")
    assert listing.notes == ("mini_imagenet: left out: more (2 images)",)
