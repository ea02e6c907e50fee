"""Data sets that can't be protected: each gets the sentence of docs/tool.md."""

import json
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds

from raeg_jax.cli.manifest import NAME
from tests.cli import documented
from tests.cli.conftest import files, pixels
from tests.cli.datasets import FEATURES, encoded, prepare, rows

IMAGE = tfds.features.Image()
SHARD = "toy-train.array_record-00001-of-00003"


def of(features, row):
    return lambda folder: prepare(folder, {"train": [[row]]}, features)


def changed(name, change):
    """A good data set, one file of which isn't."""

    def make(folder):
        source = prepare(folder)
        path = source / name
        content = path.read_bytes()
        path.unlink()
        if (content := change(content)) is not None:
            path.write_bytes(content)
        return source

    return make


def info(change):
    def edit(content):
        content = json.loads(content)
        change(content)
        return json.dumps(content).encode()

    return changed("dataset_info.json", edit)


def stored_as_tfrecord(content):
    content["fileFormat"] = "tfrecord"


def with_one_more(content):
    content["splits"][0]["shardLengths"][1] = "3"


PNG = encoded(pixels())
DEEP = tfds.features.Image(shape=(None, None, 1), dtype=np.uint16)
DATASETS = {
    "a data set without images": of({"label": FEATURES["label"]}, {"label": 0}),
    "a data set with several images an example": of(
        {"image": IMAGE, "more": {"mask": IMAGE}}, {"image": PNG, "more": {"mask": PNG}}
    ),
    "a data set of videos": of({"frames": tfds.features.Sequence(IMAGE)}, {"frames": [PNG]}),
    "a data set of 16 bits a sample": of({"image": DEEP}, {"image": PNG}),
    "a data set in another file format": info(stored_as_tfrecord),
    "a data set that isn't finished": changed("dataset_info.json", lambda content: None),
    "a data set with a damaged description": changed("features.json", lambda content: content[:-9]),
    "a data set without one of its files": changed(SHARD, lambda content: None),
    "a data set with a damaged file": changed(SHARD, lambda content: content[:-100]),
    "a data set with a damaged example": changed(
        SHARD, lambda content: content[:300] + bytes(120) + content[420:]
    ),
    "a data set with another number of examples": info(with_one_more),
    "a folder of data sets": lambda folder: prepare(folder).parents[2],
}


@pytest.mark.parametrize("name", DATASETS)
def test_a_bad_data_set_is_reported(raeg, tmp_path, name):
    source = DATASETS[name](tmp_path / "data")
    result = raeg("protect", source, tmp_path / "out", status=None)
    lines = result.err.splitlines()
    (reported,) = (line for line in lines if line.startswith(("failed: ", "error: ")))
    assert str(source) in reported
    documented.check(name, result.status, reported)
    if name == "a data set with a damaged example":
        assert result.out.startswith("8 images protected")
        assert len(rows(tmp_path / "out", "train")) == 6
    elif result.status == 1:
        # All others are done, but this is no data set yet.
        assert result.out.startswith("7 images protected")
        shards = [name for name in files(source) if "array_record" in name and name != SHARD]
        assert files(tmp_path / "out") == [NAME, *shards]
    else:
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--format", "webp"),
            "is a data set, whose images are written as PNG: leave --format out",
        ),
        (("--labels", "folders"), "--labels folders is impossible: .* is a data set, whose labels"),
    ],
)
def test_options_for_files_are_refused(raeg, tmp_path, arguments, message):
    source = prepare(tmp_path / "data")
    result = raeg("protect", source, tmp_path / "out", *arguments, status=2)
    assert re.search(message, result.err)
    assert not (tmp_path / "out").exists()


def test_the_documentation_has_all_of_these():
    assert documented.rows().keys() >= DATASETS.keys()
