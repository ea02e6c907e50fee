"""What is told of a data set."""

import shutil

import pytest

from raeg_jax import data
from raeg_jax.data import summary


@pytest.fixture
def settings(settings, make_tree, tmp_path):
    settings.dataset = "image_folder"
    settings.source = str(make_tree(tmp_path / "in", {"a": 6, "b": 4, "c": 3}))
    return settings


def test_classes_and_their_images_are_printed_every_time(settings, capsys, monkeypatch):
    line = "image_folder: 3 classes, 10 training and 3 test images: a 5 + 1, b 3 + 1, c 2 + 1\n"
    for _ in range(2):
        data.load(settings)
        assert capsys.readouterr().err.endswith(line)
    monkeypatch.setattr(summary, "_NAMED", 2)
    data.load(settings)
    line = "image_folder: 3 classes, 10 training and 3 test images: from c 2 + 1 to a 5 + 1\n"
    assert capsys.readouterr().err == line


def test_classes_without_a_test_image_are_named(settings, make_tree, tmp_path, capsys):
    make_tree(tmp_path / "in", {"single": 1})
    data.load(settings)
    assert (
        "note: image_folder: 1 classes have no test image, so they are trained on and never "
        "tested: single\n" in capsys.readouterr().err
    )


def test_images_of_two_classes_are_named(settings, tmp_path, capsys):
    shutil.copy(tmp_path / "in" / "a" / "0001.jpg", tmp_path / "in" / "b" / "copy.jpg")
    data.load(settings)
    note = "1 images are in two classes and count in both: a/0001.jpg = b/copy.jpg\n"
    assert note in capsys.readouterr().err
