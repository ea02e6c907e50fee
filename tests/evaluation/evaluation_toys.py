"""A generator and classifiers small enough to work out by hand."""

import types

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from configs import base
from raeg_jax.evaluation.protectors import FileProtector
from raeg_jax.evaluation.readers import Reader
from raeg_jax.generator.chain import Chain, LearnedStage


class Shift(nn.Module):
    """Adds `amount` to the left half of an image; the inverse takes it away again."""

    amount: float = 8.0
    exact = portable = True
    token_planes = class_planes = 0

    def setup(self):
        self.strength = self.param("strength", nn.initializers.constant(self.amount), ())

    def __call__(self, x):
        return self.forward(x)

    def forward(self, x, token=None, free=None, labels=None):
        return x + self.strength * _left(x)

    def inverse(self, y, token=None, free=None, labels=None):
        return y - self.strength * _left(y)


def shift(strength):
    """A whole generator of one stage, `Shift`."""
    return Chain((LearnedStage(Shift(), {"strength": jnp.float32(strength)}),))


def files(generator, batch_size=4, size=32):
    """A protector that makes files with payloads, of a toy generator."""
    config = base.get_config()
    config.data.image_size = size
    bundle = types.SimpleNamespace(
        config=config,
        class_names=("dark", "middle", "bright"),
        chain=generator,
        id=b"of a toy",
        portable=True,
        labels_are_readings=False,
    )
    return FileProtector(bundle, 0, batch_size)


def _left(x):
    return (jnp.arange(x.shape[2]) < x.shape[2] // 2).astype(jnp.float32)[:, None]


class Brightness(nn.Module):
    """Three classes by mean brightness: nearest of 60, 120, 180 plus a learned offset."""

    @nn.compact
    def __call__(self, images, train):
        offset = self.param("offset", nn.initializers.zeros, ())
        count = self.variable("batch_stats", "count", jnp.zeros, ())
        if train:
            count.value += 1
        centres = jnp.array([60.0, 120.0, 180.0]) + offset
        return -((jnp.mean(images, axis=(1, 2, 3))[:, None] - centres) ** 2) / 100


def brightness_reader(name="mine.onnx", class_names=("low", "high"), data_classes=None):
    """Reads images brighter than 100 as the last class, and others as the first, or nearly."""

    def network(images):
        logits = np.zeros((len(images), len(class_names)), np.float32)
        logits[:, -1] = images.mean((1, 2, 3)) - 100
        return logits

    return Reader(
        name,
        class_names,
        "made by hand",
        {"crop": 16},
        lambda image: image[:16, -16:],
        network,
        lambda: f"digest of {name}",
        data_classes=data_classes,
    )


def flat_images(levels, size=16, spread=4, seed=0):
    """Noisy images uint8 [N, size, size, 3] around given grey levels."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(-spread, spread + 1, (len(levels), size, size, 3))
    return (np.asarray(levels)[:, None, None, None] + noise).astype(np.uint8)
