"""Classifiers with random weights as training leaves them: for tests of fixed point."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.networks.architectures import ResNet
from raeg_jax.networks.classifiers import build_classifier
from raeg_jax.networks.efficientnet import EfficientNetLite
from raeg_jax.networks.layers import small_stem
from raeg_jax.networks.preprocessing import Preprocessing

CLASSES = 5
# Small enough to be compiled often.
TINY = ResNet(CLASSES, stage_sizes=(1,), width=8, stem=small_stem)
# With as many classes as published networks have.
TINY_LITE = EfficientNetLite(
    1000,
    stages=((3, 1, 8, 1, 1), (5, 2, 8, 6, 2), (3, 1, 16, 6, 2)),
    stem=8,
    head=16,
    preprocessing=Preprocessing(48, 40, mean=(127.0,) * 3, std=(128.0,) * 3),
)


def variables_of(module, seed=0):
    """Kernels of unit gain, batch norms that are no identity."""
    random = np.random.RandomState(seed)
    blank = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), blank)

    def draw(path, shape):
        shape = shape.shape
        values = {
            "kernel": lambda: random.randn(*shape) * np.sqrt(2 / np.prod(shape[:-1])),
            "scale": lambda: random.uniform(0.5, 1.5, shape),
            "var": lambda: random.uniform(0.3, 2, shape),
        }
        return np.float32(values.get(path[-1].key, lambda: 0.3 * random.randn(*shape))())

    return jax.tree_util.tree_map_with_path(draw, shapes)


@functools.cache
def small(name):
    """(module, variables) of a registered classifier."""
    module = build_classifier(name, CLASSES)
    return module, variables_of(module)


def pictures(height, width, count=3, seed=0):
    """Smooth from left to right, as photographs are: integers as float32 [count, H, W, 3]."""
    random = np.random.RandomState(seed)
    steps = random.randn(count, height, width, 3) * 8
    return np.clip(np.cumsum(steps, axis=2) + 128, 0, 255).round().astype(np.float32)
