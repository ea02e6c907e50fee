"""A run whose classes are levels of brightness, with images large enough for payloads."""

import dataclasses

import flax.struct
import numpy as np
from flax import linen as nn

from configs import base
from raeg_jax import data
from raeg_jax.data.decode import encode_png
from raeg_jax.evaluation.trained_run import TrainedRun
from raeg_jax.experiments.context import Context
from raeg_jax.generator.chain import Chain
from raeg_jax.generator.class_planes import ClassInfo
from raeg_jax.networks.weights import load_weights
from tests.methods.toys import picture
from tests.networks import tiny_published

SIZE = 48
CLASSES = ("dark", "grey", "light")
PSNR = 30.0


class Levels(nn.Module):
    """Three classes by mean brightness; `offset` moves them all. Also a little by columns."""

    offset: float = 0.0

    def __call__(self, images, train=False):
        side = images.shape[2]
        ramp = np.linspace(-1, 1, side, dtype=np.float32)[None, None, :, None]
        level = (images * (1 + ramp)).mean(axis=(1, 2, 3))[:, None]
        centres = np.array([60.0, 120.0, 180.0], np.float32) + self.offset
        return -((level - centres) ** 2) / 100


@flax.struct.dataclass
class Brighter:
    """A stage that adds its amount, the label, and one more where the token is positive."""

    amount: float
    token_planes = 2
    class_planes = 1
    exact = placed = False

    def forward(self, x, labels, reference, token, free, place):
        return x + self._change(labels, token), ClassInfo(labels)

    def inverse(self, y, side_info, token, free, place):
        return y - self._change(side_info.label, token)

    def _change(self, labels, token):
        return self.amount + labels[:, None, None, None] + (token[..., :1] > 0)


@dataclasses.dataclass(frozen=True, eq=False)
class FloatRun(TrainedRun):
    """A run whose generator isn't exact."""

    @property
    def chain(self):
        return Chain((Brighter(20.0),))


def split(count, seed):
    """Photographs, moved to the brightness of a class, as records of PNG files."""
    levels = np.resize([78, 92, 120, 149, 165], count)
    images = [picture("natural", SIZE, SIZE, seed + i).astype(float) for i in range(count)]
    moved = [0.4 * (one - one.mean()) + level for one, level in zip(images, levels, strict=True)]
    pixels = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
    return [
        {"image": encode_png(image), "label": int(label), "file_name": f"{index}.png"}
        for index, (image, label) in enumerate(
            zip(pixels, np.digitize(levels, [90, 150]), strict=True)
        )
    ]


def run(kind=TrainedRun, readers=None):
    """Three images to train on and five unseen ones; the generator is a shortcut stage."""
    config = base.get_config()
    config.data.image_size = SIZE
    config.classifiers.targets, config.classifiers.held_out = ("near",), ("off",)
    config.eval.batch_size, config.classifiers.batch_size, config.eval.pgd_steps = 4, 2, 2
    config.generator.stages = ("shortcut",)
    config.suite.update(images=0, guesses=1, tries=(2,), remover_pairs=(), psnrs=(PSNR,))
    config.suite.pirates.update(images=0)
    config.comparison.update(psnr=PSNR, psnrs=(26.0,), images=0, curve_images=2, steps=3, seeds=2)
    splits = data.Splits(
        train=split(3, 0),
        test=split(5, 10),
        class_names=CLASSES,
        name="toy",
        fingerprint="0",
        skipped=0,
    )
    variables = {"params": {"w": np.zeros(1, np.float32)}}
    classifiers = {"near": (Levels(), variables), "off": (Levels(5.0), variables)}
    return kind(config, splits, None, classifiers, readers or {})


def compared(folder):
    """The context of `--method`."""
    return Context(run(), folder, compared=True)


def alone(folder, kind=TrainedRun, readers=None):
    """The context of `--suite` alone."""
    return Context(run(kind, readers), folder)


def published(run, folder, monkeypatch, targets=(), held_out=()):
    """The run with tiny published classifiers, of 1,000 classes, in place of its own."""
    tiny_published.register(monkeypatch)
    classifiers = {} if targets else {"near": run.classifiers["near"]}
    for seed, name in enumerate((*targets, *held_out)):
        network = tiny_published.write(folder / name, seed)
        classifiers[name] = network.module, load_weights(folder / name)[1]
    run.config.classifiers.weights = str(folder)
    if targets:
        run.config.classifiers.targets = targets
    run.config.classifiers.held_out = held_out
    return dataclasses.replace(run, classifiers=classifiers)


def model(run, folder, training_set, architecture, seed):
    """In place of `pirates.train`: the result of a model that nobody trained."""
    peak = {"honest": 0.8}.get(training_set.name, 0.4) + 0.01 * seed
    return {
        "images": training_set.name, "defence": training_set.defence,
        "training": training_set.training,
        "architecture": architecture, "seed": seed, "count": 3,
        "curve": [[5, peak - 0.1], [10, peak]], "peak": peak, "last": peak, "changed": 1.0,
    }  # fmt: skip
