"""A subject of experiments small enough to work out by hand."""

import dataclasses
import pathlib
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np

from configs import base
from raeg_jax import data
from raeg_jax.experiments.subject import Subject, as_records
from raeg_jax.generator.chain import Chain
from raeg_jax.generator.gradient_coupling import SideInfo

SIZE = 16


@flax.struct.dataclass
class Brighter:
    """Adds its amount and, with a token, one more where that is positive; the label is the code."""

    amount: float
    token_planes = 2

    def forward(self, x, labels, reference, token, free):
        rounds = jnp.ones_like(labels)
        return x + self.amount + (token[..., :1] > 0), SideInfo(labels, rounds, rounds)

    def inverse(self, y, code, token, free):
        return y - self.amount - (token[..., :1] > 0)


@flax.struct.dataclass
class Levels:
    """Three classes by mean brightness: up to 90, up to 150, above; `offset` moves them all."""

    offset: float = 0.0

    def __call__(self, images):
        centres = jnp.array([60.0, 120.0, 180.0]) + self.offset
        return -((jnp.mean(images, axis=(1, 2, 3))[:, None] - centres) ** 2) / 100


def split(levels, seed):
    """Images of given levels with a little noise, as records of PNG files."""
    noise = np.random.default_rng(seed).integers(-3, 4, (len(levels), SIZE, SIZE, 3))
    images = (np.asarray(levels)[:, None, None, None] + noise).astype(np.uint8)
    return as_records(images, np.digitize(levels, [90, 150]))


@dataclasses.dataclass(frozen=True, eq=False)
class Toy(Subject):
    """Overrides what a real subject assembles."""

    made: Any = None
    readers: Any = None

    @property
    def chain(self):
        return self.made

    @property
    def frozen(self):
        return self.readers


def subject(folder: pathlib.Path, **suite) -> Toy:
    """Six images to train on and five unseen ones, each brighter by 20 or 21 when protected."""
    config = base.get_config()
    config.data.image_size = SIZE
    config.classifiers.targets, config.classifiers.held_out = ("near",), ("off",)
    config.eval.batch_size = 4
    config.eval.pgd_steps = 2
    config.suite.update(suite)
    splits = data.Splits(
        train=split([60, 80, 120, 140, 180, 200], 0),
        test=split([60, 85, 120, 145, 180], 1),
        class_names=("dark", "grey", "light"),
        skipped=(),
        name="levels",
        fingerprint="0123456789abcdef",
    )
    return Toy(
        config, splits, None, {}, folder, {"train": 0, "test": 0},
        made=Chain((Brighter(20.0),)), readers={"near": Levels(), "off": Levels(40.0)},
    )  # fmt: skip
