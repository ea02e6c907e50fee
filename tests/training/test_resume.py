"""Training around a toy step: a resumed run equals one that never stopped."""

import json
import signal

import jax
import numpy as np
import pytest

from raeg_jax import data
from raeg_jax.errors import UserError
from raeg_jax.training import generator, loop
from raeg_jax.workdir import origin as origin_lib
from tests.training.loop_toys import (
    SPLITS,
    assert_same_run,
    last_state,
    rows_of,
    signal_at,
    train,
)

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture
def config(toy_config):
    return toy_config


def assert_refused(config, workdir, change, message):
    """A run of three steps, finished, is not resumed; its settings stay as they are."""
    config.train.steps = 3
    train(config, workdir)
    before = (workdir / "config.json").read_text()
    config.update_from_flattened_dict(change)
    with pytest.raises(UserError, match=message):
        train(config, workdir)
    assert (workdir / "config.json").read_text() == before


@pytest.mark.parametrize(("number", "at_step"), [(signal.SIGTERM, 3), (signal.SIGINT, 4)])
def test_stopping_saves_and_resuming_equals_an_unbroken_run(
    config, tmp_path, monkeypatch, evaluations, capsys, number, at_step
):
    # Whatever is saved along the way must not show in the result.
    config.train.update(log_every=1, eval_every=12)
    train(config, tmp_path / "unbroken")
    with monkeypatch.context() as patch:
        signal_at(patch, number, at_step)
        assert train(config, tmp_path / "stopped") is None
    message = capsys.readouterr().err
    assert f"stopped by {signal.Signals(number).name} after step {at_step + 1} of 12" in message
    assert "the same command resumes" in message
    assert int(last_state(config, tmp_path / "stopped")[0].step) == at_step + 1
    evaluations.clear()
    assert train(config, tmp_path / "stopped") == 12
    assert f"resuming after step {at_step + 1}" in capsys.readouterr().err
    assert_same_run(config, tmp_path / "unbroken", tmp_path / "stopped")


def test_stopping_while_classifiers_train_ends_the_run(config, tmp_path, monkeypatch):
    monkeypatch.setattr(generator, "ensure_classifiers", lambda *args: None)
    monkeypatch.setattr(generator, "make_train_step", None)
    assert train(config, tmp_path) is None


def test_a_kill_is_forgotten_back_to_the_last_checkpoint(
    config, tmp_path, monkeypatch, evaluations
):
    config.train.update(log_every=1, eval_every=12)
    train(config, tmp_path / "unbroken")

    def die(*args, **options):
        raise SystemExit  # nothing is saved on the way out

    with monkeypatch.context() as patch:
        record = loop.Loop.record
        patch.setattr(
            loop.Loop,
            "record",
            lambda self, *a, **k: (die if self.step == 8 else record)(self, *a, **k),
        )
        with pytest.raises(SystemExit):
            train(config, tmp_path / "killed")
    assert int(last_state(config, tmp_path / "killed")[0].step) == 6
    assert rows_of(tmp_path / "killed")[-1]["step"] == 7
    evaluations.clear()
    train(config, tmp_path / "killed")
    assert_same_run(config, tmp_path / "unbroken", tmp_path / "killed")


def test_a_finished_run_takes_no_steps(config, tmp_path, monkeypatch, evaluations):
    train(config, tmp_path)
    rows = rows_of(tmp_path)
    monkeypatch.setattr(generator, "make_train_step", None)
    evaluations.clear()
    assert train(config, tmp_path) == 12
    assert not evaluations
    assert rows_of(tmp_path) == rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss.target_psnr": 30.0}, "config.loss.target_psnr was .*, is 30.0"),
        ({"optimizer.learning_rate": 1e-5}, "config.optimizer.learning_rate was .*, is 1e-05"),
        ({"attack_layer.median_size": 5}, "config.attack_layer.median_size was 3, is 5"),
        ({"train.steps": 2}, "config.train.steps was 3, is 2"),
    ],
)
def test_a_finished_run_takes_no_other_settings(config, tmp_path, evaluations, change, message):
    """They would stand in its results without having been used."""
    message = rf"finished at step 3 with other settings: {message}; raise .*train\.steps"
    assert_refused(config, tmp_path, change, message)


def test_weights_are_logged_whenever_a_run_resumes(config, tmp_path, evaluations):
    config.train.steps = 3
    train(config, tmp_path)
    config.train.steps = 6
    config.loss.weight.range = 9.0
    train(config, tmp_path)
    logged = [
        (row["step"], row["weight/range"]) for row in rows_of(tmp_path) if "weight/range" in row
    ]
    assert logged == [(0, 5.0), (3, 9.0)]


def test_another_number_of_devices_and_mode_resume(config, tmp_path, monkeypatch, evaluations):
    train(config, tmp_path / "unbroken")
    with monkeypatch.context() as patch:
        signal_at(patch, signal.SIGTERM, 5)
        train(config, tmp_path / "moved")
    config.parallel = "shard_map"
    devices = jax.devices()[:2]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    evaluations.clear()
    train(config, tmp_path / "moved")
    (a, _), (b, _) = (last_state(config, tmp_path / name) for name in ("unbroken", "moved"))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), a.params, b.params)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generator.coupling": "additive"}, "config.generator.coupling was 'integer'"),
        ({"generator.widths": (6,)}, r"config.generator.widths was \[4\], is \[6\]"),
        ({"seed": 3}, "config.seed was 0, is 3"),
        ({"train.batch_size": 16}, "config.train.batch_size was 8, is 16"),
    ],
)
def test_another_run_in_the_same_workdir_is_refused(config, tmp_path, evaluations, change, message):
    assert_refused(config, tmp_path, change, f"holds another run: {message}.* another --workdir")


@pytest.mark.parametrize("stages", [("learned",), ("gradient",)])
def test_another_run_without_checkpoints_is_refused(config, tmp_path, stages):
    """Its classifiers and results would be replaced."""
    config.generator.stages = stages
    origin = origin_lib.origin_of("resnet_small", SPLITS, config)
    info = tmp_path / "classifiers" / "resnet_small" / "info.json"
    info.parent.mkdir(parents=True)
    info.write_text(json.dumps({"origin": origin}))
    config.seed = 1
    with pytest.raises(UserError, match=r"holds another run: config\.seed was 0, is 1"):
        train(config, tmp_path)
    assert json.loads(info.read_text()) == {"origin": origin}
    assert not (tmp_path / "config.json").exists()


def test_other_images_are_refused(config, tmp_path, evaluations, monkeypatch):
    config.train.steps = 3
    train(config, tmp_path)
    other = data.Splits(SPLITS.train, SPLITS.test, ("a", "b"), (), "toys", "1" * 16)
    monkeypatch.setattr(generator.data, "load", lambda settings: other)
    config.train.steps = 6
    with pytest.raises(UserError, match=r"toys images are not those .*1111 now"):
        train(config, tmp_path)


def test_a_longer_run_resumes_and_says_so(config, tmp_path, evaluations, capsys):
    config.train.steps = 3
    train(config, tmp_path)
    config.train.steps = 6
    assert train(config, tmp_path) == 6
    assert "resuming with other settings: config.train.steps was 3, is 6" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_skipped(config, tmp_path, evaluations, capsys):
    config.train.update(eval_every=12, keep_last=3)
    train(config, tmp_path / "whole")
    evaluations.clear()
    train(config, tmp_path / "damaged")
    (tmp_path / "damaged" / "checkpoints" / "12" / "iterator" / "metadata").write_text("")
    evaluations.clear()
    train(config, tmp_path / "damaged")
    message = capsys.readouterr().err
    assert "checkpoints/12 can't be read" in message
    assert "the checkpoint of step 9 is used instead" in message
    assert_same_run(config, tmp_path / "whole", tmp_path / "damaged")


def test_other_versions_are_named(config, tmp_path, evaluations, capsys, monkeypatch):
    config.train.steps = 3
    train(config, tmp_path)
    now = generator.run_config.versions() | {"jax": "99.0"}
    monkeypatch.setattr(generator.run_config, "versions", lambda: now)
    train(config, tmp_path)
    assert f"bits may differ: jax {jax.__version__} -> 99.0" in capsys.readouterr().err
