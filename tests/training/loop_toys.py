"""Small stand-ins for what the training loop calls, and how its runs are compared."""

import os

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from raeg_jax import data
from raeg_jax.data.decode import encode_png
from raeg_jax.training import generator, loop
from raeg_jax.training.logs import read_rows
from raeg_jax.training.optimizers import create_state
from raeg_jax.workdir.checkpoint import Checkpoints
from raeg_jax.workdir.processes import AXIS


class ToyNet(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        return nn.Dense(2)(images.mean((1, 2)))


class ToyGenerator(nn.Module):
    """Adds one learned number."""

    width: int
    token_planes = class_planes = 0

    def setup(self):
        self.shift = self.param("shift", nn.initializers.zeros, (self.width,))

    def __call__(self, x):
        return self.forward(x)

    def check(self, params):
        """All weights are exact enough for it."""

    def forward(self, x, token=None, free=None, labels=None):
        return x + self.shift[0]

    def inverse(self, y, token=None, free=None, labels=None):
        return y - self.shift[0]


def make_toy_step(config, generator, discriminator, targets, surrogates):
    """Adds a number that depends on batch, step and seed; NaN at step `kappa`."""

    def step(state, frozen, batch):
        assert bool(surrogates) == bool(state.surrogates) == bool(config.loss.weight.poison)
        assert set(frozen["targets"]) == set(targets) == {"resnet_small"}
        number = state.step + 1
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(frozen["seed"]), number))
        mean = jax.lax.pmean(batch["image"].astype(jnp.float32).mean(), AXIS)
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


def records(images, classes):
    """Records of uint8 images [N, H, W, 3], whose classes take turns."""
    return [
        {"image": encode_png(image), "label": i % classes, "file_name": f"{i}.png"}
        for i, image in enumerate(images)
    ]


def noise(count, seed):
    random = np.random.RandomState(seed)
    return records(random.randint(0, 256, (count, 32, 32, 3)).astype(np.uint8), classes=2)


SPLITS = data.Splits(noise(20, 0), noise(9, 1), ("a", "b"), (), "toys", "0" * 16)


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


def train(config, workdir):
    """Trains; returns the last step, or None where a signal came first."""
    run = generator.train(config, workdir)
    return run and run.step


def last_state(config, workdir):
    toy = ToyGenerator(config.generator.widths[0])
    shapes = jax.eval_shape(lambda key: create_state(config, toy, None, key), jax.random.key(0))
    with Checkpoints(workdir, config.train, writable=False) as checkpoints:
        return checkpoints.restore(shapes)


def rows_of(workdir):
    rows = read_rows(workdir / "metrics.jsonl")
    for row in rows:
        row.pop("images_per_second", None)
    return rows


def steps_of(workdir):
    """The rows of a run without the weights that are logged each time it resumes."""
    return [row for row in rows_of(workdir) if not row["step"] or "weight/range" not in row]


def assert_same_run(config, a, b):
    (state_a, position_a), (state_b, position_b) = last_state(config, a), last_state(config, b)
    assert position_a == position_b
    jax.tree.map(np.testing.assert_array_equal, state_a, state_b)
    assert steps_of(a) == steps_of(b)
