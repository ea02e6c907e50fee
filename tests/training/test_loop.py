"""The loop around a toy step: resuming, stopping, saving; see test_end_to_end.py for the rest."""

import io
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

from configs import smoke
from raeg_jax import data, evaluation
from raeg_jax.errors import UserError
from raeg_jax.training import loop, parallel
from raeg_jax.training.checkpoint import Checkpoints
from raeg_jax.training.logs import read_rows


class ToyNet(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        return nn.Dense(2)(images.mean((1, 2)))


class ToyGenerator(nn.Module):
    """Adds one learned number."""

    width: int

    def setup(self):
        self.shift = self.param("shift", nn.initializers.zeros, (self.width,))

    def __call__(self, x):
        return self.forward(x)

    def forward(self, x):
        return x + self.shift[0]

    def inverse(self, y):
        return y - self.shift[0]


def make_toy_step(config, generator, discriminator, targets):
    """Adds a number that depends on batch, step and seed; NaN at step `kappa`."""

    def step(state, frozen, batch):
        assert set(frozen) == set(targets) == {"resnet_small"}
        number = state.step + 1
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(config.seed), number))
        mean = jax.lax.pmean(batch["image"].astype(jnp.float32).mean(), parallel.AXIS)
        change = 1e-3 * (mean / 255 + noise)
        params = jax.tree.map(lambda p: p + change, state.params)
        ema = jax.tree.map(lambda e, p: 0.5 * e + 0.5 * p, state.ema, params)
        range_loss = jnp.where(number == config.loss.kappa, jnp.nan, change)
        metrics = {
            "loss/total": range_loss + 1,
            "loss/adversary": change,
            "loss/range": range_loss,
            "psnr": 40.0 + change,
            "attack_success": jnp.float32(0.5),
        }
        return state.replace(step=number, params=params, ema=ema), metrics

    return step


def records(count, seed):
    random, rows = np.random.RandomState(seed), []
    for i in range(count):
        buffer = io.BytesIO()
        pixels = random.randint(0, 256, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        rows.append({"image": buffer.getvalue(), "label": i % 2, "file_name": f"{i}.png"})
    return rows


SPLITS = data.Splits(records(20, 0), records(9, 1), ("a", "b"), (), "toys", "0" * 16)


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    """Everything that compiles or trains for long is replaced."""
    images = jnp.zeros((1, 32, 32, 3))
    nets = {
        name: (ToyNet(), ToyNet().init(jax.random.key(i), images, train=False))
        for i, name in enumerate(("resnet_small", "vgg_small"))
    }
    accuracies = {name: {"train": 0.75, "test": 0.5} for name in nets}
    monkeypatch.setattr(loop.data, "load", lambda settings: SPLITS)
    monkeypatch.setattr(loop, "ensure_classifiers", lambda *args: nets)
    monkeypatch.setattr(loop, "clean_accuracies", lambda *args: accuracies)
    monkeypatch.setattr(loop, "make_train_step", make_toy_step)
    monkeypatch.setattr(
        loop, "generator_from_config", lambda settings: ToyGenerator(settings.widths[0])
    )
    monkeypatch.setattr(loop.evaluation, "run", lambda *args, step: {"step": step})


@pytest.fixture
def looks(monkeypatch):
    """Evaluations inside the loop: step -> metrics; made up, and better from look to look."""
    seen = {}

    def look(self, step, params, log):
        values = {"psnr": 40.0, "protected_accuracy": 1 / (1 + len(seen))}
        seen[step] = values
        log.scalars(step, {f"eval/{name}": value for name, value in values.items()})
        return values

    monkeypatch.setattr(loop.Monitor, "look", look)
    return seen


@pytest.fixture
def config():
    config = smoke.get_config()
    config.loss.kappa = 0.0
    config.generator.update(blocks=(1,), widths=(4,))
    config.train.update(steps=12, log_every=2, eval_every=6, checkpoint_every=3, keep_last=2)
    return config


def signal_at(monkeypatch, number, at_step):
    """Sends this process a signal while it takes step `at_step`."""
    advance = loop.Progress.advance
    taken = []

    def counted(self, values=None):
        taken.append(values)
        if len(taken) == at_step:
            os.kill(os.getpid(), number)
        advance(self, values)

    monkeypatch.setattr(loop.Progress, "advance", counted)


def last_state(config, workdir):
    generator = loop.generator_from_config(config.generator)
    shapes = jax.eval_shape(
        lambda key: loop.create_state(config, generator, None, key), jax.random.key(0)
    )
    with Checkpoints(workdir, config.train, writable=False) as checkpoints:
        return checkpoints.restore(shapes)


def rows_of(workdir):
    rows = read_rows(workdir / "metrics.jsonl")
    for row in rows:
        row.pop("images_per_second", None)
    return rows


def assert_same_run(config, a, b):
    (state_a, position_a), (state_b, position_b) = last_state(config, a), last_state(config, b)
    assert position_a == position_b
    jax.tree.map(np.testing.assert_array_equal, state_a, state_b)
    assert rows_of(a) == rows_of(b)


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


@pytest.mark.parametrize(("number", "at_step"), [(signal.SIGTERM, 3), (signal.SIGINT, 4)])
def test_stopping_saves_and_going_on_equals_an_unbroken_run(
    config, tmp_path, monkeypatch, looks, capsys, number, at_step
):
    # Whatever is saved along the way must not show in the result.
    config.train.update(log_every=1, eval_every=12)
    loop.train(config, tmp_path / "unbroken")
    with monkeypatch.context() as patch:
        signal_at(patch, number, at_step)
        assert loop.train(config, tmp_path / "stopped") is None
    message = capsys.readouterr().err
    assert f"stopped by {signal.Signals(number).name} after step {at_step + 1} of 12" in message
    assert "the same command goes on" in message
    assert int(last_state(config, tmp_path / "stopped")[0].step) == at_step + 1
    looks.clear()
    assert loop.train(config, tmp_path / "stopped") == {"step": 12}
    assert f"going on after step {at_step + 1}" in capsys.readouterr().err
    assert_same_run(config, tmp_path / "unbroken", tmp_path / "stopped")


def test_a_kill_is_forgotten_back_to_the_last_checkpoint(config, tmp_path, monkeypatch, looks):
    config.train.update(log_every=1, eval_every=12)
    loop.train(config, tmp_path / "unbroken")

    def die(*args):
        raise SystemExit  # nothing is saved on the way out

    with monkeypatch.context() as patch:
        patch.setattr(loop, "make_train_step", make_toy_step)
        looked = loop.check_finite
        patch.setattr(loop, "check_finite", lambda p, c: die() if p[-1][0] == 8 else looked(p, c))
        with pytest.raises(SystemExit):
            loop.train(config, tmp_path / "killed")
    assert int(last_state(config, tmp_path / "killed")[0].step) == 6
    assert rows_of(tmp_path / "killed")[-1]["step"] == 7
    looks.clear()
    loop.train(config, tmp_path / "killed")
    assert_same_run(config, tmp_path / "unbroken", tmp_path / "killed")


def test_a_finished_run_is_only_evaluated(config, tmp_path, monkeypatch, looks):
    loop.train(config, tmp_path)
    rows = rows_of(tmp_path)
    monkeypatch.setattr(loop, "make_train_step", None)
    looks.clear()
    assert loop.train(config, tmp_path) == {"step": 12}
    assert not looks
    assert rows_of(tmp_path) == rows


def test_other_number_of_devices_and_mode_go_on(config, tmp_path, monkeypatch, looks):
    loop.train(config, tmp_path / "unbroken")
    with monkeypatch.context() as patch:
        signal_at(patch, signal.SIGTERM, 5)
        loop.train(config, tmp_path / "moved")
    config.parallel = "shard_map"
    devices = jax.devices()[:2]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    looks.clear()
    loop.train(config, tmp_path / "moved")
    (a, _), (b, _) = (last_state(config, tmp_path / name) for name in ("unbroken", "moved"))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), a.params, b.params)


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generator.coupling": "additive"}, "config.generator.coupling was 'integer'"),
        ({"generator.widths": (6,)}, r"config.generator.widths was \[4\], is \[6\]"),
        ({"seed": 3}, "config.seed was 0, is 3"),
        ({"train.batch_size": 16}, "config.train.batch_size was 8, is 16"),
    ],
)
def test_another_run_in_the_same_workdir_is_refused(config, tmp_path, looks, change, message):
    config.train.steps = 3
    loop.train(config, tmp_path)
    before = (tmp_path / "config.json").read_text()
    config.update_from_flattened_dict(change)
    with pytest.raises(UserError, match=f"holds another run: {message}.* another --workdir"):
        loop.train(config, tmp_path)
    assert (tmp_path / "config.json").read_text() == before


def test_other_images_are_refused(config, tmp_path, looks, monkeypatch):
    config.train.steps = 3
    loop.train(config, tmp_path)
    other = data.Splits(SPLITS.train, SPLITS.test, ("a", "b"), (), "toys", "1" * 16)
    monkeypatch.setattr(loop.data, "load", lambda settings: other)
    config.train.steps = 6
    with pytest.raises(UserError, match=r"toys images are not those .*1111 now"):
        loop.train(config, tmp_path)


def test_a_longer_run_goes_on_and_says_so(config, tmp_path, looks, capsys):
    config.train.steps = 3
    loop.train(config, tmp_path)
    config.train.steps = 6
    assert loop.train(config, tmp_path) == {"step": 6}
    assert "going on with other settings: config.train.steps was 3, is 6" in capsys.readouterr().err


def test_other_versions_are_told(config, tmp_path, looks, capsys, monkeypatch):
    config.train.steps = 3
    loop.train(config, tmp_path)
    now = loop.config_lib.versions() | {"jax": "99.0"}
    monkeypatch.setattr(loop.config_lib, "versions", lambda: now)
    loop.train(config, tmp_path)
    assert f"bits may differ: jax {jax.__version__} -> 99.0" in capsys.readouterr().err


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
