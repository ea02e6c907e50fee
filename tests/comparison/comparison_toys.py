"""A subject whose classes are levels of brightness, with images large enough for payloads."""

import numpy as np
from flax import linen as nn

from configs import base
from raeg_jax import data
from raeg_jax.experiments.subject import Subject, as_records
from tests.methods.toys import picture

SIZE = 48
CLASSES = ("dark", "grey", "light")


class Levels(nn.Module):
    """Three classes by mean brightness; `offset` moves them all. Also a little by columns."""

    offset: float = 0.0

    def __call__(self, images, train=False):
        side = images.shape[2]
        ramp = np.linspace(-1, 1, side, dtype=np.float32)[None, None, :, None]
        level = (images * (1 + ramp)).mean(axis=(1, 2, 3))[:, None]
        centres = np.array([60.0, 120.0, 180.0], np.float32) + self.offset
        return -((level - centres) ** 2) / 100


def split(count, seed):
    """Photographs, moved to the brightness of a class."""
    levels = np.resize([78, 92, 120, 149, 165], count)
    images = [picture("natural", SIZE, SIZE, seed + i).astype(float) for i in range(count)]
    moved = [0.4 * (one - one.mean()) + level for one, level in zip(images, levels, strict=True)]
    return as_records(
        np.clip(np.rint(moved), 0, 255).astype(np.uint8), np.digitize(levels, [90, 150])
    )


def subject(folder) -> Subject:
    """Three images to train on and five unseen ones; the generator is a shortcut stage."""
    config = base.get_config()
    config.data.image_size = SIZE
    config.classifiers.targets, config.classifiers.held_out = ("near",), ("off",)
    config.eval.batch_size, config.classifiers.batch_size = 4, 2
    config.generator.stages = ("shortcut",)
    config.comparison.update(psnr=30.0, psnrs=(26.0,), images=0, curve_images=2, steps=3, seeds=2)
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
    return Subject(config, splits, None, classifiers, folder, {"train": 0, "test": 0})
