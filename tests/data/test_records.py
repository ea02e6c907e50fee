"""A split as a sequence."""

import pickle

import numpy as np
import pytest

from raeg_jax import data


@pytest.fixture
def records(settings, make_tree, tmp_path):
    settings.dataset = "image_folder"
    settings.source = str(make_tree(tmp_path / "in", {"ä b": 6, "c": 6}))
    return data.load(settings).train


def test_items(records):
    assert len(records) == 10
    first = records[0]
    assert set(first) == {"image", "label", "file_name"}
    assert isinstance(first["image"], bytes)
    assert type(first["label"]) is int
    assert first["file_name"].startswith("c/")
    # Names need not be ASCII.
    assert records[-1]["file_name"].startswith("ä b/")
    assert records[-1] == records[9]
    assert len(list(records)) == 10
    for index in (10, -11):
        with pytest.raises(IndexError):
            records[index]


def test_labels_are_those_of_the_records(records):
    assert records.labels.dtype == np.int32
    assert records.labels.tolist() == [record["label"] for record in records]


def test_copies_travel_to_other_processes(records):
    assert records[3]  # Open files must not be in the way.
    assert pickle.loads(pickle.dumps(records))[3] == records[3]
