"""Patterns are learned once a workdir; a run that was stopped resumes bit for bit."""

import signal

import numpy as np
import pytest

from configs import base
from raeg_jax import data
from raeg_jax.errors import UserError
from raeg_jax.training import loop
from raeg_jax.training import patterns as lib
from raeg_jax.training.logs import read_rows
from raeg_jax.workdir import patterns as workdir_lib
from tests.training.loop_toys import records, signal_at
from tests.training.toy_networks import register

STEPS = 24


@pytest.fixture(autouse=True, scope="module")
def toys():
    with pytest.MonkeyPatch.context() as patch:
        register(patch)
        yield


@pytest.fixture(scope="module")
def splits():
    """Noise: what the classes have in common are their patterns alone."""
    images = np.random.RandomState(0).randint(0, 256, (48, 8, 8, 3)).astype(np.uint8)
    return data.Splits(
        records(images, 3), records(images[:9], 3), ("a", "b", "c"), (), "noise", "0" * 16
    )


def make_config():
    config = base.get_config()
    config.data.image_size = 8
    config.generator.stages = ("shortcut",)
    config.generator.shortcut.update(pattern="learned", target_psnr=26.0)
    config.patterns.update(
        grid=4, variants=2, surrogates=("flat",), steps=STEPS, batch_size=16, renew_every=20,
        learning_rate=0.05,
    )  # fmt: skip
    config.augment.crop_padding = 0
    config.classifiers.update(warmup_steps=0, learning_rate=0.02)
    config.train.log_every = 4
    return config


@pytest.fixture
def config():
    return make_config()


@pytest.fixture(scope="module")
def learned(splits, tmp_path_factory):
    """A workdir, and the patterns in it."""
    workdir = tmp_path_factory.mktemp("learned")
    return workdir, lib.ensure_patterns(make_config(), splits, workdir)


def rows_of(workdir):
    return read_rows(workdir / "patterns" / "metrics.jsonl")


def test_the_loss_falls_and_the_patterns_are_saved(config, splits, learned, monkeypatch):
    workdir, patterns = learned
    assert patterns.dtype == np.int8
    assert patterns.shape == (3, 2, 4, 4, 3)
    np.testing.assert_array_equal(np.abs(patterns.astype(int)).max((2, 3, 4)), 127)
    rows = rows_of(workdir)
    assert [row["step"] for row in rows] == [4, 8, 12, 16, 20, 24]
    # A new surrogate comes before step 21.
    assert rows[4]["loss"] < rows[0]["loss"] - 0.05
    assert rows[5]["loss"] > rows[4]["loss"]
    assert set(rows[0]) == {"step", "loss", "accuracy", "rms"}
    assert sorted(path.name for path in (workdir / "patterns").iterdir()) == [
        "info.json", "metrics.jsonl", "patterns.npy", "tensorboard",
    ]  # fmt: skip
    monkeypatch.setattr(lib, "_train", None)
    np.testing.assert_array_equal(lib.ensure_patterns(config, splits, workdir), patterns)
    np.testing.assert_array_equal(workdir_lib.load_patterns(config, splits, workdir), patterns)


@pytest.mark.parametrize(("number", "at_step"), [(signal.SIGTERM, 7), (signal.SIGINT, 19)])
def test_stopping_saves_and_resuming_equals_an_unbroken_run(
    config, splits, learned, tmp_path, monkeypatch, capsys, number, at_step
):
    with monkeypatch.context() as patch:
        signal_at(patch, number, at_step)
        assert lib.ensure_patterns(config, splits, tmp_path) is None
    message = f"stopped by {signal.Signals(number).name} after step {at_step + 1} of {STEPS} of"
    assert message in capsys.readouterr().err
    with pytest.raises(UserError, match="has no learned patterns"):
        workdir_lib.load_patterns(config, splits, tmp_path)
    again = lib.ensure_patterns(config, splits, tmp_path)
    assert f"resuming the patterns after step {at_step + 1}" in capsys.readouterr().err
    np.testing.assert_array_equal(again, learned[1])
    assert rows_of(tmp_path) == rows_of(learned[0])
    assert not (tmp_path / "patterns" / "unfinished").exists()


def test_a_kill_is_forgotten_back_to_the_last_checkpoint(
    config, splits, learned, tmp_path, monkeypatch, capsys
):
    config.train.checkpoint_every = 6
    advance, taken = loop.Progress.advance, []

    def die(self, values=None):
        taken.append(values)
        if len(taken) == 22:
            raise SystemExit  # nothing is saved on the way out
        advance(self, values)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Progress, "advance", die)
        with pytest.raises(SystemExit):
            lib.ensure_patterns(config, splits, tmp_path)
    again = lib.ensure_patterns(config, splits, tmp_path)
    assert "resuming the patterns after step 18" in capsys.readouterr().err
    np.testing.assert_array_equal(again, learned[1])


def test_a_signal_leaves_no_patterns_of_other_settings(config, splits, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        signal_at(patch, signal.SIGTERM, 2)
        assert lib.ensure_patterns(config, splits, tmp_path) is None
    config.patterns.grid = 5
    with pytest.raises(UserError, match=r"of another run: config\.patterns\.grid was 4, is 5"):
        lib.ensure_patterns(config, splits, tmp_path)


def test_damaged_patterns_are_named_and_learned_again(
    config, splits, tmp_path, monkeypatch, capsys
):
    patterns = np.ones((3, 2, 4, 4, 3), np.int8)
    workdir_lib.save_patterns(tmp_path, patterns, workdir_lib.origin_of_patterns(splits, config))
    (tmp_path / "patterns" / "patterns.npy").write_bytes(b"")
    finished = type("Loop", (), {"signal": None})
    monkeypatch.setattr(lib, "_train", lambda *args: (3.0 * patterns, finished))
    again = lib.ensure_patterns(config, splits, tmp_path)
    assert "isn't what was saved: the patterns are learned again" in capsys.readouterr().err
    np.testing.assert_array_equal(again, 127 * patterns)
    np.testing.assert_array_equal(workdir_lib.read_patterns(tmp_path), again)


def test_a_batch_larger_than_the_data_is_named_at_once(config, splits, tmp_path):
    config.patterns.batch_size = 64
    with pytest.raises(UserError, match=r"config\.patterns\.batch_size=64 .*to 48 or less"):
        lib.ensure_patterns(config, splits, tmp_path)


def test_a_loss_that_is_not_finite_stops(config, splits, tmp_path):
    config.classifiers.learning_rate = 1e38
    with pytest.raises(UserError, match=r"loss is .* at step \d+, .*config\.patterns\.learning"):
        lib.ensure_patterns(config, splits, tmp_path)
    assert workdir_lib.read_patterns(tmp_path) is None
