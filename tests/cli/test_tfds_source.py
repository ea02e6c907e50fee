"""TFDS data sets there and back."""

import errno
import os
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.file_adapters import ADAPTER_FOR_FORMAT, FileFormat

from raeg_jax.cli.manifest import NAME
from raeg_jax.cli.tfds_dataset import open_records
from raeg_jax.image_file.read import decode_image_file
from raeg_jax.payload.seal import find_payload, open_sealed
from tests.cli.conftest import KEY, files, pixels
from tests.cli.datasets import FEATURES, encoded, example, prepare, rows
from tests.cli.fake_codec import CLASS_NAMES, Protector


@pytest.fixture
def source(tmp_path):
    return prepare(tmp_path / "data")


def picture(row):
    return decode_image_file(row["image"], "image")


def equal(one, other):
    """Whether all features but the image are."""
    assert one.keys() == other.keys()
    assert one["label"] == other["label"]
    assert one["about"]["name"] == other["about"]["name"]
    np.testing.assert_array_equal(one["about"]["boxes"], other["about"]["boxes"])
    assert one["about"]["weights"].tobytes() == other["about"]["weights"].tobytes()


def test_a_data_set_goes_there_and_back(raeg, source, tmp_path):
    result = raeg("protect", source, tmp_path / "out")
    assert result.out.startswith("9 images protected; payload in the pixels of 9")
    raeg("verify", tmp_path / "out")
    result = raeg("recover", tmp_path / "out", tmp_path / "back")
    assert result.out.startswith("9 images recovered")
    for split, count in (("train", 7), ("test", 2)):
        before, out, back = (rows(f, split) for f in (source, tmp_path / "out", tmp_path / "back"))
        assert len(before) == len(out) == len(back) == count
        for one, protected, recovered in zip(before, out, back, strict=True):
            equal(one, protected)
            equal(one, recovered)
            assert picture(protected).format == picture(recovered).format == "PNG"
            assert np.any(picture(protected).pixels != picture(one).pixels)
            np.testing.assert_array_equal(picture(recovered).pixels, picture(one).pixels)
    infos = [
        tfds.builder_from_directory(folder).info
        for folder in (source, tmp_path / "out", tmp_path / "back")
    ]
    for info in infos:
        assert info.full_name == "toy/tiny/2.1.0"
        assert info.splits["train"].shard_lengths == [3, 2, 2]
        assert info.features["label"].names == list(CLASS_NAMES)
        assert (info.citation, info.supervised_keys) == ("nobody", ("image", "label"))
    assert [info.features["image"].encoding_format for info in infos] == ["jpeg", "png", "png"]
    assert "original_features.json" not in files(tmp_path / "back")
    shards = [name for name in files(tmp_path / "out") if "array_record" in name]
    assert shards == [name for name in files(source) if "array_record" in name]
    sizes = {name: (tmp_path / "out" / name).stat().st_size for name in shards}
    of_test = infos[1].splits["test"]
    assert of_test.num_bytes == sizes["toy-test.array_record-00000-of-00001"]


def test_tfds_decodes_protected_images(raeg, source, tmp_path):
    raeg("protect", source, tmp_path / "out")
    decoded = tfds.builder_from_directory(tmp_path / "out").as_data_source(split="test")
    for row, expected in zip(decoded, rows(tmp_path / "out", "test"), strict=True):
        np.testing.assert_array_equal(row["image"], picture(expected).pixels)


@pytest.mark.parametrize(
    ("names", "arguments", "expected"),
    [
        (CLASS_NAMES, (), [0, 1, 2]),
        (("lotus", "anchor"), (), [2, 0, None]),
        (("heron", "ibis", "lotus"), (), [None] * 3),
        (CLASS_NAMES, ("--labels", "none"), [None] * 3),
    ],
)
def test_labels_are_those_of_a_feature_if_the_generator_has_its_classes(
    raeg, tmp_path, names, arguments, expected
):
    features = FEATURES | {"label": tfds.features.ClassLabel(names=names)}
    examples = [example(number) for number in range(3)]
    # TFDS's own for an unknown one.
    examples[2]["label"] = 2 if len(names) == 3 else -1
    source = prepare(tmp_path / "data", {"train": [examples]}, features)
    result = raeg("protect", source, tmp_path / "out", *arguments)
    assert ("classes by the feature label" in result.err) == (expected != [None] * 3)
    for row, label in zip(rows(tmp_path / "out", "train"), expected, strict=True):
        found = open_sealed(find_payload(picture(row)).blob, KEY).side_info[0, 0]
        # The fake writes the number of classes for an image whose label isn't given.
        assert found == (len(CLASS_NAMES) if label is None else label)


def test_grey_images_become_coloured_and_grey_again(raeg, tmp_path):
    grey = [pixels(number)[..., 0] for number in range(2)]
    features = {"image": tfds.features.Image(shape=(24, 24, 1), use_colormap=True)}
    source = prepare(
        tmp_path / "data", {"train": [[{"image": encoded(image)} for image in grey]]}, features
    )
    raeg("protect", source, tmp_path / "out")
    protected = tfds.builder_from_directory(tmp_path / "out")
    assert protected.info.features["image"].shape == (24, 24, 3)
    for row in protected.as_data_source(split="train"):
        assert row["image"].shape == (24, 24, 3)
    raeg("recover", tmp_path / "out", tmp_path / "back")
    back = tfds.builder_from_directory(tmp_path / "back")
    assert back.info.features["image"].use_colormap
    for row, image in zip(back.as_data_source(split="train"), grey, strict=True):
        np.testing.assert_array_equal(row["image"][..., 0], image)


def test_rasters_stay_as_other_features_refer_to_them(raeg, tmp_path):
    """TFDS overlooks EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = encoded(pixels(1, 20, 30), exif=exif)
    assert decode_image_file(image, "image").pixels.shape == (30, 20, 3)
    features = {"image": FEATURES["image"]}
    source = prepare(tmp_path / "data", {"train": [[{"image": image}]]}, features)
    raeg("protect", source, tmp_path / "out")
    raeg("recover", tmp_path / "out", tmp_path / "back")
    before, out, back = (
        next(iter(tfds.builder_from_directory(folder).as_data_source(split="train")))["image"]
        for folder in (source, tmp_path / "out", tmp_path / "back")
    )
    assert np.abs(out.astype(int) - before).max() < 8
    np.testing.assert_array_equal(back, before)


def test_verifying_compares_with_the_original_data_set(raeg, source, tmp_path):
    raeg("protect", source, tmp_path / "out")
    result = raeg("verify", tmp_path / "out", "--originals", source)
    assert result.out.count("exact   train/") == 7
    changed = [example(7), example(8, encoded(pixels(99, 24, 26)))]
    splits = {"train": [map(example, range(7))], "test": [changed]}
    other = prepare(tmp_path / "other", splits)
    result = raeg("verify", tmp_path / "out", "--originals", other, status=1)
    assert "example 1 of test, is recovered as it was protected, but the original" in result.out
    assert result.out.splitlines()[-1].startswith("8 images verified")
    fewer = prepare(tmp_path / "fewer", {"train": [[example(0)]], "test": [[example(7)]]})
    result = raeg("verify", tmp_path / "out", "--originals", fewer, status=2)
    assert "so which belong together isn't known" in result.err


def test_an_example_that_fails_is_left_out_and_reported_by_every_run(raeg, tmp_path):
    bad = example(1, b"not an image")
    splits = {"train": [[example(0), bad, example(2)], [example(3)]]}
    source = prepare(tmp_path / "data", splits)
    for done in ("3 images protected", "0 images protected; 3 were done before"):
        result = raeg("protect", source, tmp_path / "out", status=1)
        assert result.out.startswith(done)
        assert "1 failed" in result.out
        assert f"failed: {source}, example 1 of train, is not an image in JPEG" in result.err
    names = [row["about"]["name"].decode() for row in rows(tmp_path / "out", "train")]
    assert names == ["näme 0", "näme 2", "näme 3"]
    info = tfds.builder_from_directory(tmp_path / "out").info
    assert info.splits["train"].shard_lengths == [2, 1]


def test_a_shard_without_any_example_keeps_the_data_set_from_being_one(raeg, source, tmp_path):
    raeg("protect", source, tmp_path / "out")
    raeg("keygen", tmp_path / "other.key")
    key = ("--key", tmp_path / "other.key")
    result = raeg("recover", tmp_path / "out", tmp_path / "back", *key, status=1)
    assert result.out.startswith("0 images recovered; 13 failed")
    assert "toy-test.array_record-00000-of-00001 isn't written, as no example of it" in result.err
    assert files(tmp_path / "back") == [NAME]
    assert (tmp_path / "back" / NAME).read_text().count("locked by the key") == 9


def test_an_output_that_is_there_is_only_replaced_if_asked_for(raeg, source, tmp_path):
    for name in ("toy-test.array_record-00000-of-00001", "features.json", "dataset_info.json"):
        out = tmp_path / f"out of {name}"
        out.mkdir()
        (out / name).write_text("precious")
        result = raeg("protect", source, out, status=2)
        assert f"{out / name} exists and isn't of this run: name another" in result.err
        assert (out / name).read_text() == "precious"
        raeg("protect", source, out, "--overwrite")
        assert len(rows(out, "train")) == 7


def test_what_is_finished_is_not_done_again(raeg, source, tmp_path):
    out = tmp_path / "out"
    raeg("protect", source, out)

    def written():
        return {name: (out / name).stat().st_mtime_ns for name in files(out) if name != NAME}

    before = written()
    result = raeg("protect", source, out)
    assert result.out == "0 images protected; 9 were done before\n"
    assert written() == before
    lost = "toy-train.array_record-00001-of-00003"
    (out / lost).unlink()
    assert raeg("protect", source, out).out.startswith("2 images protected; ")
    after = written()
    changed = {name for name in before if before[name] != after[name]}
    assert {lost, "dataset_info.json"} <= changed
    assert not any("array_record" in name for name in changed - {lost})
    assert len(rows(out, "train")) == 7


def test_ctrl_c_leaves_whole_shards_and_no_data_set(raeg, source, tmp_path, monkeypatch):
    out, protect = tmp_path / "out", Protector.protect

    def interrupted(self, *images):
        if len(self.batches) == 4:
            raise KeyboardInterrupt
        return protect(self, *images)

    with monkeypatch.context() as patch:
        patch.setattr(Protector, "protect", interrupted)
        result = raeg("protect", source, out, "--batch-size", "1", status=130)
    assert "done, and the same command resumes after the last whole record file\n" in result.err
    assert files(out) == [NAME, "toy-train.array_record-00000-of-00003"]
    result = raeg("recover", out, tmp_path / "back", status=2)
    assert "out has record files, but no dataset_info.json: let whatever prepares it" in result.err
    result = raeg("protect", source, out)
    assert result.out.startswith("6 images protected")
    assert result.out.endswith("; 3 were done before\n")
    assert len(rows(out, "train") + rows(out, "test")) == 9


@pytest.mark.parametrize("after", [1, 2, 3, 8, 12])
def test_a_full_disk_ends_the_run_with_whole_shards_only(
    raeg, source, tmp_path, monkeypatch, after
):
    out, calls, fsync = tmp_path / "out", [], os.fsync

    def full(number):
        calls.append(number)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        result = raeg("protect", source, out, status=None)
    assert result.status in (1, 2)
    assert "error: no room is left for " in result.err
    assert "dataset_info.json" not in files(out)
    for name in files(out):
        if "array_record" in name:
            assert len(open_records(out / name)) == len(open_records(source / name))
    raeg("protect", source, out)
    assert len(rows(out, "train") + rows(out, "test")) == 9


def test_a_record_writer_that_fails_without_reason_is_reported(raeg, source, tmp_path, monkeypatch):
    def fail(path, examples):
        path.write_bytes(b"half")
        raise RuntimeError("it went wrong")

    adapter = ADAPTER_FOR_FORMAT[FileFormat.ARRAY_RECORD]
    monkeypatch.setattr(adapter, "write_examples", fail)
    result = raeg("protect", source, tmp_path / "out", status=1)
    assert re.search(r"error: .*/out can't be written \(it went wrong\): .*; 3 of 9", result.err)
    assert files(tmp_path / "out") == [NAME]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    result = raeg("protect", source, tmp_path / "out", status=1)
    assert "error: no room is left for " in result.err
