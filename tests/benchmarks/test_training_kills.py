"""The benchmark that kills training: it sees what a run has saved, and what a kill left."""

import sys

import pytest

from tests.benchmarks.loading import load_benchmark


@pytest.fixture
def training_kills():
    yield from load_benchmark("training_kills")
    del sys.modules["kills"]


def test_each_checkpoint_and_finished_classifier_counts(training_kills, tmp_path):
    net = tmp_path / "classifiers" / "net"
    seen = [training_kills.steps_saved(tmp_path)]
    for folder in (net / "unfinished" / "3", net / "unfinished" / "12"):
        folder.mkdir(parents=True)
        seen.append(training_kills.steps_saved(tmp_path))
    (net / "unfinished" / "13.orbax-checkpoint-tmp").mkdir()
    assert training_kills.steps_saved(tmp_path) == seen[-1]
    for folder in (net / "unfinished").iterdir():
        folder.rmdir()
    (net / "info.json").touch()
    seen.append(training_kills.steps_saved(tmp_path))
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    seen.append(training_kills.steps_saved(tmp_path))
    assert sorted(set(seen)) == seen


def test_what_a_kill_left_is_seen(training_kills, tmp_path):
    (tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp").mkdir(parents=True)
    (tmp_path / "checkpoints" / "removed" / "1").mkdir(parents=True)
    left = training_kills.look_at_training(tmp_path)
    assert (left.unfinished, left.half) == (2, 1)
