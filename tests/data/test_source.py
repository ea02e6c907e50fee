"""The folder that the user names: images, text files, and mistakes in naming it."""

import os

import pytest

from raeg_jax.data import celeba_100, mini_imagenet, source
from raeg_jax.data.source import read_text
from raeg_jax.errors import UserError
from raeg_jax.files import printable


@pytest.mark.parametrize(
    ("raw", "text"),
    [(b"plain", "plain"), ("größe \\".encode(), "größe \\"), (b"caf\xe9", r"caf\udce9")],
)
def test_names_can_be_written_anywhere(raw, text):
    name = printable(os.fsdecode(raw))
    assert name == text
    assert name.encode().decode() == text


def test_a_byte_order_mark_is_left_out(tmp_path):
    (tmp_path / "a").write_text("größe\r\n", encoding="utf-8-sig", newline="")
    assert read_text(tmp_path / "a") == "größe\r\n"


@pytest.mark.parametrize(
    "read",
    [
        read_text,
        celeba_100.read_list,
        celeba_100.read_identities,
        mini_imagenet.read_titles,
        lambda path: mini_imagenet.read_tables([path], path.parent),
    ],
)
def test_other_encodings_are_named(tmp_path, read):
    path = tmp_path / "list.txt"
    path.write_bytes("filename,label\nGröße 1 0\n".encode("latin-1"))
    with pytest.raises(UserError, match=rf"{path}, line 2: byte 0xf6 is not UTF-8 text; save"):
        read(path)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=rf"{tmp_path} can't be read .*directory"):
        read_text(tmp_path)


def test_images_in_ignores_hidden_files_and_names_the_others(tmp_path):
    for name in ("b.JPG", "a.png", "deep/er/c.tiff", ".DS_Store", "._a.png", ".git/d.png", "x.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert source.images_in(tmp_path) == (
        ["a.png", "b.JPG", "deep/er/c.tiff"],
        ["x.txt (not an image)"],
    )


def test_missing_source_says_what_is_expected(tmp_path):
    with pytest.raises(UserError, match=r"config.data.source=FOLDER. Expected: this"):
        source.source_folder("toy", "", "Expected: this")
    with pytest.raises(UserError, match=r"no folder .*nowhere.*Expected: this"):
        source.source_folder("toy", str(tmp_path / "nowhere"), "Expected: this")
