"""Any tree of class folders."""

import os

import pytest

from raeg_jax import data
from raeg_jax.data.image_folder import ImageFolder
from raeg_jax.errors import UserError
from raeg_jax.evaluation import result_files


def names(listing, train):
    return {entry.file_name for entry in listing.entries if entry.train == train}


def test_share_of_each_class_is_for_testing(settings, make_tree, tmp_path):
    settings.source = str(make_tree(tmp_path / "in", {"dog": 10, "cat": 5}))
    listing = ImageFolder.list_source(settings, tmp_path)
    assert listing.class_names == ("cat", "dog")
    testing = [entry.label for entry in listing.entries if not entry.train]
    assert (testing.count(0), testing.count(1)) == (1, 2)
    assert len(listing.entries) == 15
    for entry in listing.entries:
        assert entry.file_name.startswith(listing.class_names[entry.label] + "/")
        assert entry.size == entry.path.stat().st_size


def test_names_that_are_not_utf8_are_kept_printable(settings, make_tree, tmp_path):
    source = make_tree(tmp_path / "in", {"a": 4, "b": 4})
    odd = os.fsdecode(b"caf\xe9")
    (source / "a" / "0000.jpg").rename(source / "a" / f"{odd}.jpg")
    (source / "a" / odd).write_bytes(b"no image")
    (source / "b").rename(source / odd)
    settings.source = str(source)
    settings.dataset = "image_folder"
    splits = data.load(settings)
    name = "caf\\udce9"
    assert splits.class_names == ("a", name)
    records = [*splits.train, *splits.test]
    assert f"a/{name}.jpg" in {record["file_name"] for record in records}
    assert len(records) == 8
    assert splits.skipped == (f"a/{name} (not an image)",)
    rows = [
        {"file": record["file_name"], "class": splits.class_names[record["label"]]}
        for record in records
    ]
    result_files._csv(rows).decode()


@pytest.mark.parametrize("test", ["test", "dev"])
def test_own_split_is_kept(settings, make_tree, tmp_path, test):
    make_tree(tmp_path / "in" / "train", {"b": 4, "a": 3})
    make_tree(tmp_path / "in" / test, {"b": 2}, first=100)
    settings.source = str(tmp_path / "in")
    listing = ImageFolder.list_source(settings, tmp_path)
    assert listing.class_names == ("a", "b")
    assert names(listing, train=False) == {f"{test}/b/0100.jpg", f"{test}/b/0101.jpg"}
    assert len(names(listing, train=True)) == 7
    assert listing.notes == ()


def test_train_without_a_test_part_is_an_error(settings, make_tree, tmp_path):
    """Else `train` and `holdout` would be the classes."""
    make_tree(tmp_path / "in" / "train", {"a": 3, "b": 3})
    make_tree(tmp_path / "in" / "holdout", {"a": 3, "b": 3})
    # Images for testing without their classes are of no use.
    make_tree(tmp_path / "in", {"test": 3})
    settings.source = str(tmp_path / "in")
    with pytest.raises(UserError, match=r"found: holdout, test\).*config.data.source=.*in/train "):
        ImageFolder.list_source(settings, tmp_path)
    settings.source += "/train"
    assert ImageFolder.list_source(settings, tmp_path).class_names == ("a", "b")


def test_own_split_with_an_untrained_class_is_an_error(settings, make_tree, tmp_path):
    make_tree(tmp_path / "in" / "train", {"a": 3, "b": 3})
    make_tree(tmp_path / "in" / "test", {"c": 2})
    settings.source = str(tmp_path / "in")
    with pytest.raises(UserError, match=r"without a folder in .*train: c"):
        ImageFolder.list_source(settings, tmp_path)


def test_other_files_and_empty_folders_are_named(settings, make_tree, tmp_path):
    source = make_tree(tmp_path / "in", {"a": 3, "b": 3})
    (source / "b" / "notes.txt").write_text("hello")
    (source / "empty").mkdir()
    settings.source = str(source)
    listing = ImageFolder.list_source(settings, tmp_path)
    assert listing.class_names == ("a", "b")
    assert listing.left_out == ("b/notes.txt (not an image)", "empty/ (no images in it)")


def test_linked_class_folders_and_deep_trees(settings, make_tree, tmp_path):
    make_tree(tmp_path / "elsewhere", {"a": 3})
    make_tree(tmp_path / "in" / "b", {"deep": 3})
    (tmp_path / "in" / "a").symlink_to(tmp_path / "elsewhere" / "a")
    settings.source = str(tmp_path / "in")
    listing = ImageFolder.list_source(settings, tmp_path)
    assert listing.class_names == ("a", "b")
    assert "b/deep/0000.jpg" in {entry.file_name for entry in listing.entries}


def test_no_class_folders_is_an_error(settings, tmp_path):
    (tmp_path / "in").mkdir()
    settings.source = str(tmp_path / "in")
    with pytest.raises(UserError, match=r"no class folders.*Expected: one folder a class"):
        ImageFolder.list_source(settings, tmp_path)


def test_linked_folders_are_followed_once(settings, make_tree, tmp_path):
    make_tree(tmp_path / "elsewhere", {"cats": 2})
    source = make_tree(tmp_path / "in", {"cat": 3, "dog": 3})
    (source / "cat" / "more").symlink_to(tmp_path / "elsewhere" / "cats")
    (source / "cat" / "round").symlink_to(source / "cat")
    (source / "0.jpg").write_bytes((source / "cat" / "0000.jpg").read_bytes())
    settings.source = str(source)
    listing = ImageFolder.list_source(settings, tmp_path)
    listed = {entry.file_name for entry in listing.entries}
    assert {"cat/more/0000.jpg", "cat/more/0001.jpg"} < listed
    assert len(listed) == 8
    assert listing.left_out == (
        "cat/round/ (a link to a folder that is listed already)",
        "0.jpg (in no class folder)",
    )


def test_names_with_control_characters_are_escaped(settings, make_tree, tmp_path):
    source = make_tree(tmp_path / "in", {"a\nb": 3, "c\x1b[31m": 3})
    settings.source = str(source)
    listing = ImageFolder.list_source(settings, tmp_path)
    assert listing.class_names == ("a\\nb", "c\\x1b[31m")
    make_tree(source, {"a\\nb": 3})
    with pytest.raises(UserError, match=r"two folders that are written a\\nb: rename one"):
        ImageFolder.list_source(settings, tmp_path)
