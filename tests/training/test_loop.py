"""The loop around a toy step: what it logs, saves and stops at; test_resume.py goes on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax import evaluation
from raeg_jax.errors import UserError
from raeg_jax.training import loop, parallel
from raeg_jax.training.checkpoint import Checkpoints
from tests.training.loop_toys import SPLITS, ToyGenerator, ToyNet, last_state, rows_of

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture
def config(toy_config):
    return toy_config


def test_a_run_logs_evaluates_and_saves_when_due(config, tmp_path, looks):
    assert loop.train(config, tmp_path) == {"step": 12}
    assert list(looks) == [6, 12]
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == [0, 2, 4, 6, 6, 8, 10, 12, 12]
    assert rows[0]["classifier/vgg_small/test_accuracy"] == 0.5
    with Checkpoints(tmp_path, config.train) as checkpoints:
        assert checkpoints.steps() == [9, 12]
        assert checkpoints.resolve("best") == 12
    assert (tmp_path / "config.json").is_file()


def test_the_last_step_is_logged_evaluated_and_saved_always(config, tmp_path, looks):
    config.train.update(steps=5, log_every=100, eval_every=100, checkpoint_every=100)
    assert loop.train(config, tmp_path) == {"step": 5}
    assert list(looks) == [5]
    assert [row["step"] for row in rows_of(tmp_path)] == [0, 5, 5]
    assert int(last_state(config, tmp_path)[0].step) == 5


def test_a_loss_that_is_not_finite_stops_and_leaves_the_last_checkpoint(config, tmp_path, looks):
    config.loss.kappa = 8.0
    message = (
        r"loss/range is nan at step 8, so the run stops; the checkpoint of step 6 is kept.*"
        r"not finite are: loss/range, loss/total"
    )
    with pytest.raises(UserError, match=message):
        loop.train(config, tmp_path)
    state, _ = last_state(config, tmp_path)
    assert int(state.step) == 6
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_a_loss_is_looked_at_before_a_checkpoint_is_written(config, tmp_path, looks):
    """Also where neither the log nor the step of the checkpoint itself shows it."""
    config.loss.kappa = 5.0
    config.train.log_every = 100
    with pytest.raises(UserError, match=r"at step 5, .*the checkpoint of step 3 is kept"):
        loop.train(config, tmp_path)
    assert int(last_state(config, tmp_path)[0].step) == 3


def test_a_loss_that_is_not_finite_at_once(config, tmp_path, looks):
    config.loss.kappa = 1.0
    with pytest.raises(UserError, match=r"at step 1, .*none was saved yet"):
        loop.train(config, tmp_path)


def test_impossible_settings_stop_before_anything_is_loaded(config, tmp_path, monkeypatch):
    monkeypatch.setattr(loop.data, "load", None)
    config.train.batch_size = 12
    with pytest.raises(UserError, match=r"config\.train\.batch_size"):
        loop.train(config, tmp_path)


def test_monitor_logs_and_judges(config, tmp_path, monkeypatch):
    values = {"psnr": 40.0, "protected_accuracy": 0.25}
    monkeypatch.setattr(evaluation, "quick", lambda *args, **kwargs: values)
    generator = loop.generator_from_config(config.generator)
    params = parallel.replicate({"shift": jnp.ones(4)})
    monitor = loop.Monitor(config, SPLITS, generator, {})
    with loop.MetricLog(tmp_path) as log:
        config.loss.target_psnr = 40.9
        assert monitor.look(6, params, log) == values
        config.loss.target_psnr = 41.1
        assert monitor.look(8, params, log) is None
    assert rows_of(tmp_path) == [
        {"step": step, "eval/psnr": 40.0, "eval/protected_accuracy": 0.25} for step in (6, 8)
    ]


def test_monitor_measures_averaged_parameters_on_test_images(config, tmp_path):
    config.train.update(eval_images=9, image_grids=False)
    config.loss.target_psnr = 42.0
    monitor = loop.Monitor(
        config,
        SPLITS,
        ToyGenerator(4),
        {"a": (ToyNet(), loop.ensure_classifiers()["vgg_small"][1])},
    )
    params = parallel.replicate({"shift": jnp.full(4, 2.0)})
    with loop.MetricLog(tmp_path) as log:
        values = monitor.look(3, params, log)
    # Two grey levels off everywhere but where white clips them.
    np.testing.assert_allclose(values["psnr"], 20 * np.log10(255 / 2), atol=0.1)
    assert 0 < values["clean_accuracy"] < 1
