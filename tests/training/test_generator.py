"""Training around a toy step: what is logged, saved and refused; test_resume.py resumes."""

import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import smoke
from raeg_jax import data, evaluation
from raeg_jax.errors import UserError
from raeg_jax.training import generator
from raeg_jax.training.generator import Monitor
from raeg_jax.training.logs import MetricLog
from raeg_jax.training.loop import DivergedError
from raeg_jax.training.optimizers import create_state
from raeg_jax.training.surrogates import Surrogates
from raeg_jax.workdir.checkpoint import Checkpoints
from raeg_jax.workdir.patterns import origin_of_patterns, save_patterns
from raeg_jax.workdir.processes import replicate
from tests.networks import tiny_published
from tests.training.loop_toys import (
    SPLITS,
    ToyGenerator,
    ToyNet,
    last_state,
    records,
    rows_of,
    signal_at,
    train,
)
from tests.training.toy_networks import register

pytestmark = pytest.mark.usefixtures("toys")
SIZE = 16


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


def test_weights_that_can_not_be_exact_have_diverged(config, tmp_path, evaluations, monkeypatch):
    """A study goes on with its other variants then."""

    def check(self, params):
        raise UserError("the weights of a layer are too large")

    monkeypatch.setattr(ToyGenerator, "check", check)
    with pytest.raises(DivergedError, match="are too large"):
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


class Brighten(nn.Module):
    token_planes = class_planes = 0

    def forward(self, x, token, free, labels):
        return x + self.variables["params"]["amount"]

    def inverse(self, y, token, free, labels):
        return y - self.variables["params"]["amount"]


class Net(nn.Module):
    def __call__(self, images, train):
        return images.mean((1, 2))


class Log:
    def scalars(self, step, values):
        self.values = values

    def images(self, step, name, picture):
        self.picture = picture


@pytest.mark.parametrize(("images", "rows"), [(7, 4), (3, 3)])
def test_one_compilation_serves_numbers_and_picture(images, rows, caplog):
    config = smoke.get_config()
    config.data.image_size = SIZE
    config.eval.batch_size = 5
    pictures = np.full((images, SIZE, SIZE, 3), 50, np.uint8)
    pictures[..., 0] = 100 + np.arange(images)[:, None, None]
    splits = data.Splits([], records(pictures, 1), ("red", "green", "blue"), (), "toys", "0" * 16)
    monitor, log = Monitor(config, splits, Brighten(), {"net": (Net(), {})}), Log()
    with jax.log_compiles():
        monitor.evaluate(1, {"amount": jnp.float32(20)}, log)
    for function in ("protect", "recover"):
        assert caplog.text.count(f"Compiling jit({function})") == 1
    assert log.values["eval/exact_images"] == 1
    shown = [np.any(np.all(log.picture == (100 + i, 50, 50), axis=-1)) for i in range(images)]
    assert sum(shown) == rows


def test_of_published_targets_the_monitor_measures_what_they_still_read(
    toy_config, tmp_path, monkeypatch
):
    tiny_published.register(monkeypatch)
    monitor = Monitor(toy_config, SPLITS, ToyGenerator(4), {"net": tiny_published.classifier()})
    with MetricLog(tmp_path) as log:
        values = monitor.evaluate(3, replicate({"shift": jnp.zeros(4)}), log)
    assert values["clean_accuracy"] == values["protected_accuracy"] == 1


def test_a_checkpoint_near_the_target_may_become_the_best(toy_config, tmp_path, monkeypatch):
    values = {"psnr": 40.0, "protected_accuracy": 0.25}
    monkeypatch.setattr(evaluation, "quick", lambda *args, **kwargs: values)
    generator = ToyGenerator(4)
    params = replicate({"shift": jnp.ones(4)})
    monitor = Monitor(toy_config, SPLITS, generator, {})
    with MetricLog(tmp_path) as log:
        toy_config.loss.target_psnr = 40.9
        assert monitor.evaluate(6, params, log) == values
        toy_config.loss.target_psnr = 41.1
        assert monitor.evaluate(8, params, log) is None
    assert rows_of(tmp_path) == [
        {"step": step, "eval/psnr": 40.0, "eval/protected_accuracy": 0.25} for step in (6, 8)
    ]


def test_averaged_parameters_are_measured_on_test_images(toy_config, tmp_path):
    toy_config.train.update(eval_images=9, image_grids=False)
    toy_config.loss.target_psnr = 42.0
    monitor = Monitor(
        toy_config,
        SPLITS,
        ToyGenerator(4),
        {"a": (ToyNet(), ToyNet().init(jax.random.key(1), jnp.zeros((1, 32, 32, 3)), train=False))},
    )
    params = replicate({"shift": jnp.full(4, 2.0)})
    with MetricLog(tmp_path) as log:
        values = monitor.evaluate(3, params, log)
    # Two grey levels off everywhere but where white clips them.
    np.testing.assert_allclose(values["psnr"], 20 * np.log10(255 / 2), atol=0.1)
    assert 0 < values["clean_accuracy"] < 1


def with_patterns(config, stages=("shortcut",)):
    config.generator.stages = stages
    config.generator.shortcut.pattern = "learned"
    return config


@pytest.mark.parametrize("stages", [("shortcut",), ("learned", "shortcut")])
def test_learned_patterns_are_part_of_a_run(config, tmp_path, monkeypatch, evaluations, stages):
    patterns = np.ones((2, 1, 4, 4, 3), np.int8)
    monkeypatch.setattr(generator, "ensure_patterns", lambda *args: patterns)
    config = with_patterns(config, stages)
    assert generator.train(config, tmp_path).patterns is patterns
    monkeypatch.setattr(generator, "ensure_patterns", lambda *args: None)
    config.train.steps = 15
    assert generator.train(config, tmp_path) is None


def test_patterns_of_another_run_are_refused_before_anything_is_written(config, tmp_path):
    config = with_patterns(config)
    save_patterns(tmp_path, np.ones(1, np.int8), origin_of_patterns(SPLITS, config))
    config.patterns.grid = 9
    with pytest.raises(UserError, match=r"config\.patterns\.grid was 8, is 9"):
        generator.train(config, tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_surrogates_are_renewed_and_resumed(config, tmp_path, monkeypatch, evaluations):
    """The toy step leaves them as they are."""
    register(monkeypatch)
    config.loss.weight.poison = 1.0
    config.patterns.update(surrogates=("flat", "flat"), renew_every=8)
    with monkeypatch.context() as patch:
        signal_at(patch, signal.SIGTERM, 6)
        assert train(config, tmp_path) is None
    assert train(config, tmp_path) == 12
    surrogates, toy = Surrogates(config, 2), ToyGenerator(config.generator.widths[0])
    first = surrogates.create()
    shapes = jax.eval_shape(
        lambda key: create_state(config, toy, None, key, None, first), jax.random.key(0)
    )
    with Checkpoints(tmp_path, config.train, writable=False) as checkpoints:
        state, _ = checkpoints.restore(shapes)
    expected = surrogates.renew(first, 9)[0], surrogates.renew(first, 5)[1]
    jax.tree.map(np.testing.assert_array_equal, state.surrogates, expected)
    old, new = (each["params"]["Dense_0"]["kernel"] for each in (first[0], expected[0]))
    assert np.any(old != new)
