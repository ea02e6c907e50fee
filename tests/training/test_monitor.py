"""The monitor: what it measures, which checkpoints may become the best, what it compiles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import smoke
from raeg_jax import data, evaluation
from raeg_jax.training.logs import MetricLog
from raeg_jax.training.monitor import Monitor
from raeg_jax.workdir.state import replicate
from tests.training.loop_toys import SPLITS, ToyGenerator, ToyNet, records, rows_of

SIZE = 16


class Brighten(nn.Module):
    token_planes = 0

    def forward(self, x, token, free):
        return x + self.variables["params"]["amount"]

    def inverse(self, y, token, free):
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
