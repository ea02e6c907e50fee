"""Training around a toy step: what is logged, saved and refused; test_resume.py resumes."""

import jax
import numpy as np
import pytest

from raeg_jax.errors import UserError
from raeg_jax.training import generator
from raeg_jax.workdir.checkpoint import Checkpoints
from tests.training.loop_toys import last_state, rows_of, train

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture
def config(toy_config):
    return toy_config


def test_a_run_logs_evaluates_and_saves_when_due(config, tmp_path, evaluations):
    assert train(config, tmp_path) == 12
    assert list(evaluations) == [6, 12]
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == [0, 2, 4, 6, 6, 8, 10, 12, 12]
    assert rows[0]["classifier/vgg_small/test_accuracy"] == 0.5
    with Checkpoints(tmp_path, config.train) as checkpoints:
        assert checkpoints.steps() == [9, 12]
        assert checkpoints.resolve("best") == 12
    assert (tmp_path / "config.json").is_file()


def test_the_last_step_is_logged_evaluated_and_saved_always(config, tmp_path, evaluations):
    config.train.update(steps=5, log_every=100, eval_every=100, checkpoint_every=100)
    assert train(config, tmp_path) == 5
    assert list(evaluations) == [5]
    assert [row["step"] for row in rows_of(tmp_path)] == [0, 5, 5]
    assert int(last_state(config, tmp_path)[0].step) == 5


def test_a_loss_that_is_not_finite_stops_and_leaves_the_last_checkpoint(
    config, tmp_path, evaluations
):
    config.loss.kappa = 8.0
    message = (
        r"loss/range is nan at step 8, so the run stops; the checkpoint of step 6 is saved.*"
        r"not finite are: loss/range, loss/total"
    )
    with pytest.raises(UserError, match=message):
        train(config, tmp_path)
    state, _ = last_state(config, tmp_path)
    assert int(state.step) == 6
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_a_loss_is_checked_before_a_checkpoint_is_written(config, tmp_path, evaluations):
    """Also where neither the log nor the step of the checkpoint itself shows it."""
    config.loss.kappa = 5.0
    config.train.log_every = 100
    with pytest.raises(UserError, match=r"at step 5, .*the checkpoint of step 3 is saved"):
        train(config, tmp_path)
    assert int(last_state(config, tmp_path)[0].step) == 3


def test_a_loss_that_is_not_finite_at_once(config, tmp_path, evaluations):
    config.loss.kappa = 1.0
    with pytest.raises(UserError, match=r"at step 1, .*none was saved yet"):
        train(config, tmp_path)


def test_stages_that_are_not_learned_need_only_classifiers(config, tmp_path, evaluations):
    stages, config.generator.stages = config.generator.stages, ("gradient",)
    run = generator.train(config, tmp_path)
    assert (run.params, run.step) == (None, None)
    assert list(run.classifiers) == ["resnet_small", "vgg_small"]
    assert not (tmp_path / "checkpoints").exists()
    # In the workdir of a trained generator they must be the classifiers that it was fitted against.
    config.generator.stages = stages
    train(config, tmp_path)
    saved = (tmp_path / "config.json").read_bytes()
    config.generator.stages = ("gradient",)
    assert generator.train(config, tmp_path).params is None
    assert (tmp_path / "config.json").read_bytes() == saved
    config.seed = 3
    with pytest.raises(UserError, match=r"holds another run: config\.seed was 0, is 3"):
        generator.train(config, tmp_path)
