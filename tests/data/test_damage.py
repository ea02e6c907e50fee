"""What is not a file, changes, is damaged or finds no space."""

import json
import os
import re
import resource

import numpy as np
import pytest

from raeg_jax import data
from raeg_jax.errors import UserError


@pytest.fixture
def source(make_tree, tmp_path):
    return make_tree(tmp_path / "in", {"a": 6, "b": 6}, suffix="png")


@pytest.fixture
def settings(settings, source):
    settings.dataset = "image_folder"
    settings.source = str(source)
    return settings


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_what_is_not_a_photograph_is_skipped_unread(settings, source):
    os.mkfifo(source / "a" / "pipe.jpg")
    (source / "a" / "zero.jpg").symlink_to("/dev/zero")
    (source / "a" / "folder.jpg").mkdir()
    (source / "b" / "odd.jpg").write_bytes(b"GIF89a, but no more")
    for name, head in (("sparse.jpg", b""), ("huge.jpg", b"\xff\xd8\xff\xe0")):
        (source / "b" / name).write_bytes(head)
        os.truncate(source / "b" / name, 2**40)
    splits = data.load(settings)
    assert len(splits.train) + len(splits.test) == 12
    assert sorted(splits.skipped) == [
        "a/folder.jpg (is not a file)",
        "a/pipe.jpg (is not a file)",
        "a/zero.jpg (is not a file)",
        "b/huge.jpg (has 1,099,511,627,776 bytes, more than the 1,073,741,824 that are read)",
        "b/odd.jpg (UnidentifiedImageError: not an image, or damaged)",
        "b/sparse.jpg (not an image)",
    ]


def test_files_left_out_now_are_named(settings, source):
    data.load(settings)
    (source / "0.png").touch()
    splits = data.load(settings)
    assert splits.skipped == ("0.png (in no class folder)",)
    assert json.loads((splits.train.folder / "skipped.json").read_text()) == list(splits.skipped)


def test_images_that_change_after_they_were_digested_are_not_stored(
    settings, source, tmp_path, monkeypatch
):
    listed = data.DATASETS["image_folder"].list_source(settings, tmp_path)
    read = data.decode.read_image

    def changing(path):
        content = read(path)
        return content + b"more" if path.name == "0003.png" else content

    with monkeypatch.context() as patched:
        patched.setattr(data.decode, "read_image", changing)
        with pytest.raises(UserError, match=r"0003.png changed while the data were prepared"):
            data.load(settings)
    assert not (tmp_path / "cache" / listed.dataset / "digests.json").exists()
    assert len(data.load(settings).train) == 10


@pytest.mark.parametrize("name", ["index.json", "skipped.json", "*train.array*", "*info.json"])
def test_damaged_prepared_data_are_named(settings, name):
    folder = data.load(settings).train.folder
    (path,) = folder.glob(name)
    whole = path.read_bytes()
    message = rf"prepared data in {re.escape(str(folder))} are damaged .*: remove that folder"
    for content in (whole[: len(whole) // 2], b"", None):
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            list(data.load(settings).train)
    path.write_bytes(whole)
    assert len(list(data.load(settings).train)) == 10


def test_flipped_bytes_are_noticed(settings, capsys):
    splits = data.load(settings)
    flip(splits.train.folder / "index.json", 20)
    with pytest.raises(UserError, match=r"index\.json has another content than was written"):
        data.load(settings)
    flip(splits.train.folder / "index.json", 20)
    images = data.arrays(splits.train, settings)[0].copy()
    path = splits.train.folder / "train_16.npy"
    for damage in (lambda: flip(path, -100), lambda: os.truncate(path, 1000)):
        damage()
        capsys.readouterr()
        np.testing.assert_array_equal(data.arrays(splits.train, settings)[0], images)
        assert f"note: {path} is damaged: made again" in capsys.readouterr().err
    (record,) = splits.train.folder.glob("*train.array_record*")
    flip(record, record.read_bytes().index(splits.train[4]["image"][50:80]))
    with pytest.raises(UserError, match="are damaged"):
        list(data.load(settings).train)


def test_a_full_disk_is_explained(settings, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    message = rf"can't be written to {tmp_path}/cache \(write.* failed.*the same command resumes"
    try:
        # More than the small files, less than the records.
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, limits[1]))
        with pytest.raises(UserError, match=message):
            data.load(settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(list(data.load(settings).train)) == 10
