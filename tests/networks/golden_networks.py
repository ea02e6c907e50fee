"""Small networks of each family that have golden logits, made with PyTorch by `torch_models`.

golden/NAME.json: the seed that weights and images are drawn from, names and shapes of the tensors
of PyTorch's state dict in its order, and the logits that PyTorch computes.
"""

import json
import pathlib

import numpy as np

from raeg_jax.networks.architectures import VGG, BottleneckBlock, DenseNet, ResNet
from raeg_jax.networks.efficientnet import EfficientNetLite
from raeg_jax.networks.preprocessing import Preprocessing
from tests.networks.random_weights import random_state

CLASSES = 5
# Odd sides: PyTorch drops rows where it pools, and TensorFlow pads them.
SHAPE = (2, 61, 76, 3)
LITE = Preprocessing(72, 64, "bicubic", (127.0,) * 3, (128.0,) * 3)
NETWORKS = {
    "resnet": ResNet(CLASSES, (2, 1, 1), width=8, preprocessing=Preprocessing()),
    "resnet_bottleneck": ResNet(
        CLASSES, (1, 2), BottleneckBlock, width=8, preprocessing=Preprocessing()
    ),
    "vgg": VGG(CLASSES, ((8,), (8, 16)), (24, 16), norm=False, preprocessing=Preprocessing()),
    "vgg_bn": VGG(CLASSES, ((8,), (8, 16)), (24, 16), preprocessing=Preprocessing()),
    "densenet": DenseNet(
        CLASSES, (2, 1, 2), growth=6, width=8, bottleneck=2, preprocessing=Preprocessing()
    ),
    "efficientnet_lite": EfficientNetLite(
        CLASSES,
        width=0.5,
        depth=1.2,
        stages=((3, 1, 16, 1, 1), (5, 2, 24, 6, 2), (3, 1, 40, 6, 2), (3, 1, 48, 6, 1)),
        stem=8,
        head=32,
        preprocessing=LITE,
    ),
}


def golden_file(name: str) -> pathlib.Path:
    """Path of the golden logits of a network."""
    return pathlib.Path(__file__).parent / "golden" / f"{name}.json"


def read_golden(name: str) -> dict:
    """The content of a golden file."""
    return json.loads(golden_file(name).read_text())


def golden_state(name: str) -> dict[str, np.ndarray]:
    """The state dict that a golden file describes."""
    golden = read_golden(name)
    return random_state(golden["tensors"], golden["seed"])


def images_of(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Noise, a half of it darker and of less contrast: float32 `shape` in pixel units."""
    images = np.random.RandomState(seed).uniform(0, 255, shape).astype(np.float32)
    images[len(images) // 2 :] = 40 + 0.3 * images[len(images) // 2 :]
    return images
