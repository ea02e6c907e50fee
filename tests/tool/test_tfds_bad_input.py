"""Data sets that can't be protected: each gets its own sentence; docs/tool.md has a table."""

import json
import pathlib
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds

from raeg_jax.tool.manifest import NAME
from tests.tool.conftest import files, pixels
from tests.tool.datasets import FEATURES, encoded, prepare, rows

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "tool.md"
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
    "a data set without images": (
        of({"label": FEATURES["label"]}, {"label": 0}),
        2,
        "must have one image an example, but its image features are: none: export its images",
    ),
    "a data set with several images an example": (
        of({"image": IMAGE, "more": {"mask": IMAGE}}, {"image": PNG, "more": {"mask": PNG}}),
        2,
        "must have one image an example, but its image features are: image, more/mask: export",
    ),
    "a data set of videos": (
        of({"frames": tfds.features.Sequence(IMAGE)}, {"frames": [PNG]}),
        2,
        "must have one image an example, but its image features are: frames: export its images",
    ),
    "a data set of 16 bits a sample": (
        of({"image": DEEP}, {"image": PNG}),
        2,
        "has images of uint16: convert them to uint8 first",
    ),
    "a data set in another file format": (
        info(stored_as_tfrecord),
        2,
        "holds tfrecord files, which can't be read without TensorFlow: convert it first, `tfds con",
    ),
    "a data set that isn't finished": (
        changed("dataset_info.json", lambda content: None),
        2,
        "has record files, but no dataset_info.json: let whatever prepares it end first",
    ),
    "a data set with a damaged description": (
        changed("features.json", lambda content: content[:-20]),
        2,
        "can't be read as a data set (.*): prepare it again",
    ),
    "a data set without one of its files": (
        changed(SHARD, lambda content: None),
        2,
        f"{SHARD} is missing: copy the data set again",
    ),
    "a data set with a damaged file": (
        changed(SHARD, lambda content: content[:-100]),
        1,
        f"{SHARD} can't be read (.*): copy the data set again",
    ),
    "a data set with a damaged example": (
        changed(SHARD, lambda content: content[:300] + bytes(120) + content[420:]),
        1,
        r", example 3 of train, can't be read \(.*\): copy the data set again",
    ),
    "a data set with another number of examples": (
        info(with_one_more),
        1,
        f"{SHARD} has 2 examples, and dataset_info.json says 3: copy the data set again",
    ),
    "a folder of data sets": (
        lambda folder: prepare(folder).parents[2],
        2,
        "holds data sets, and is none itself: name one, such as .*/toy/tiny/2.1.0",
    ),
}


@pytest.mark.parametrize("name", DATASETS)
def test_a_bad_data_set_is_told(raeg, tmp_path, name):
    make, status, message = DATASETS[name]
    source = make(tmp_path / "data")
    result = raeg("protect", source, tmp_path / "out", status=status)
    start = {1: "failed: ", 2: "error: "}[status]
    (told,) = (line for line in result.err.splitlines() if line.startswith(start))
    assert re.search(f"{start}{re.escape(str(source))}.*{message}", told)
    if name == "a data set with a damaged example":
        assert result.out.startswith("8 images protected")
        assert len(rows(tmp_path / "out", "train")) == 6
    elif status == 1:
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
    rows = re.findall(r"^\| ([^|`]+?) \| [12] \|", DOCS.read_text(), re.MULTILINE)
    assert set(rows) >= DATASETS.keys()
