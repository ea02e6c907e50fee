"""Classifiers to attack and the discriminator.

Every classifier is a Flax module `module(images, train) -> logits`: images float32
`[B, H, W, 3]` in pixel units 0..255, logits float32 `[B, K]`; variables `params` and
`batch_stats`. With `train=False` it uses the running statistics and changes nothing; with
`train=True` it needs `mutable=["batch_stats"]`.
"""

import functools
from collections.abc import Callable

from flax import linen as nn

from raeg_jax.errors import UserError
from raeg_jax.networks.densenet import DenseNet
from raeg_jax.networks.layers import small_stem
from raeg_jax.networks.resnet import BottleneckBlock, ResNet
from raeg_jax.networks.vgg import VGG, VGG16_STAGES, VGG19_STAGES

# The small ones are ours, for 32 to 96 pixels: about 20 million multiplications for an image of
# 64 pixels. The others are the published ImageNet architectures, of torchvision's sizes.
CLASSIFIERS: dict[str, Callable[[int], nn.Module]] = {
    "resnet_small": functools.partial(ResNet, stage_sizes=(2, 2, 1), width=32, stem=small_stem),
    "resnet18": functools.partial(ResNet, stage_sizes=(2, 2, 2, 2)),
    "resnet50": functools.partial(ResNet, stage_sizes=(3, 4, 6, 3), block=BottleneckBlock),
    "vgg_small": functools.partial(
        VGG, stages=((32,), (64, 64), (128,)), hidden=(), grid=1, stem_stride=2
    ),
    "vgg16": functools.partial(VGG, stages=VGG16_STAGES),
    "vgg19": functools.partial(VGG, stages=VGG19_STAGES),
    "densenet_small": functools.partial(
        DenseNet, block_sizes=(4, 4, 4), growth=16, width=32, stem=small_stem
    ),
    "densenet121": functools.partial(DenseNet, block_sizes=(6, 12, 24, 16)),
}


def classifier(name: str, num_classes: int) -> nn.Module:
    """Builds a classifier by its registered name.

    Args:
      name: a key of `CLASSIFIERS`.
      num_classes: K, at least 2.

    Raises:
      UserError: an unknown name, or fewer than two classes.
    """
    if name not in CLASSIFIERS:
        raise UserError(f"unknown classifier {name!r}; known are {', '.join(sorted(CLASSIFIERS))}")
    if num_classes < 2:
        raise UserError(f"a classifier needs at least two classes, not {num_classes}")
    return CLASSIFIERS[name](num_classes)
