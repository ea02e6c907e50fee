"""Loading by name, the cache, and what is printed of a data set."""

import pathlib
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from raeg_jax import data
from raeg_jax.data import prepare
from raeg_jax.errors import UserError


@pytest.fixture
def settings(settings, make_tree, tmp_path):
    settings.dataset = "image_folder"
    settings.source = str(make_tree(tmp_path / "in", {"a": 6, "b": 6}))
    return settings


@pytest.mark.parametrize(
    "name", [n for n in data.DATASETS if n not in ("photographs", "caltech101")]
)
def test_every_data_set_says_what_it_needs(settings, name):
    settings.dataset = name
    settings.source = ""
    with pytest.raises(UserError, match=rf"{name}: set --config.data.source=FOLDER. Expected: "):
        data.load(settings)


@pytest.mark.parametrize("name", data.DATASETS)
def test_registered_by_its_own_name(name):
    kind = data.DATASETS[name]
    assert kind.__doc__
    assert pathlib.Path(prepare.__file__).with_name(f"{name}.py").is_file()


def test_second_call_reuses(settings, monkeypatch):
    first = data.load(settings)
    monkeypatch.setattr(prepare, "_prepare", lambda *args: pytest.fail("prepared again"))
    started = time.monotonic()
    second = data.load(settings)
    assert time.monotonic() - started < 2
    assert second.fingerprint == first.fingerprint
    assert second.train[0] == first.train[0]
    assert first.train.folder == (
        pathlib.Path(settings.cache_dir) / "image_folder" / first.fingerprint / "1.0.0"
    )


def test_a_changed_source_is_prepared_anew(settings, make_tree, tmp_path):
    first = data.load(settings)
    make_tree(tmp_path / "in", {"a": 1, "b": 1}, first=6)
    second = data.load(settings)
    assert second.fingerprint != first.fingerprint
    assert len(second.train) + len(second.test) == 14
    # Another share for testing is another split.
    settings.test_fraction = 0.5
    assert data.load(settings).fingerprint != second.fingerprint


def test_images_of_equal_names_and_sizes_are_told_apart(settings, make_tree, tmp_path):
    """BMP files of one shape have one size, whatever they show."""
    trees = [make_tree(tmp_path / name, {"a": 4, "b": 4}, suffix="bmp") for name in ("x", "y")]
    for path in trees[1].rglob("*.bmp"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
        assert path.stat().st_size == (trees[0] / path.relative_to(trees[1])).stat().st_size
    settings.source = str(trees[0])
    first = data.load(settings)
    settings.source = str(trees[1])
    second = data.load(settings)
    assert second.fingerprint != first.fingerprint
    pixels = [
        data.decode.to_rgb(splits.train[0]["image"]).astype(int) for splits in (first, second)
    ]
    np.testing.assert_array_equal(pixels[0] + pixels[1], 255)
    # A copy elsewhere is the same data set.
    settings.source = str(shutil.copytree(trees[0], tmp_path / "z"))
    assert data.load(settings).fingerprint == first.fingerprint


def test_a_cache_that_cannot_be_written_is_explained(settings, tmp_path):
    (tmp_path / "file").write_text("in the way")
    settings.cache_dir = str(tmp_path / "file" / "cache")
    with pytest.raises(UserError, match=r"can't be written to .*file/cache.*config.data.cache_dir"):
        data.load(settings)


@pytest.fixture
def three_classes(settings, make_tree, tmp_path):
    settings.source = str(make_tree(tmp_path / "three", {"a": 6, "b": 4, "c": 3}))
    return settings


def test_classes_and_their_images_are_printed_every_time(three_classes, capsys, monkeypatch):
    line = "image_folder: 3 classes, 10 training and 3 test images: a 5 + 1, b 3 + 1, c 2 + 1\n"
    for _ in range(2):
        data.load(three_classes)
        assert capsys.readouterr().err.endswith(line)
    monkeypatch.setattr(prepare, "_NAMED", 2)
    data.load(three_classes)
    line = "image_folder: 3 classes, 10 training and 3 test images: from c 2 + 1 to a 5 + 1\n"
    assert capsys.readouterr().err == line


def test_classes_without_a_test_image_are_named(three_classes, make_tree, tmp_path, capsys):
    make_tree(tmp_path / "three", {"single": 1})
    data.load(three_classes)
    assert (
        "note: image_folder: 1 classes have no test image, so they are trained on and never "
        "tested: single\n" in capsys.readouterr().err
    )


def test_images_of_two_classes_are_named(three_classes, tmp_path, capsys):
    shutil.copy(tmp_path / "three" / "a" / "0001.jpg", tmp_path / "three" / "b" / "copy.jpg")
    data.load(three_classes)
    note = "1 images are in two classes and count in both: a/0001.jpg = b/copy.jpg\n"
    assert note in capsys.readouterr().err
