"""What the monitor asks of the compiler; test_loop.py has what it judges."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

from configs import smoke
from raeg_jax import data
from raeg_jax.training.monitor import Monitor

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


def records(count):
    rows = []
    for i in range(count):
        buffer = io.BytesIO()
        Image.new("RGB", (SIZE, SIZE), (100 + i, 50, 50)).save(buffer, "PNG")
        rows.append({"image": buffer.getvalue(), "label": 0, "file_name": f"{i}.png"})
    return rows


@pytest.mark.parametrize(("images", "rows"), [(7, 4), (3, 3)])
def test_one_compilation_serves_numbers_and_picture(images, rows, caplog):
    config = smoke.get_config()
    config.data.image_size = SIZE
    config.eval.batch_size = 5
    splits = data.Splits([], records(images), ("red", "green", "blue"), (), "toys", "0" * 16)
    monitor, log = Monitor(config, splits, Brighten(), {"net": (Net(), {})}), Log()
    with jax.log_compiles():
        monitor.look(1, {"amount": jnp.float32(20)}, log)
    for function in ("protect", "recover"):
        assert caplog.text.count(f"Compiling jit({function})") == 1
    assert log.values["eval/exact_images"] == 1
    shown = [np.any(np.all(log.picture == (100 + i, 50, 50), axis=-1)) for i in range(images)]
    assert sum(shown) == rows
