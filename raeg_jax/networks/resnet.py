"""Residual networks (He et al. 2015, arXiv 1512.03385)."""

from collections.abc import Callable, Sequence

import jax
from flax import linen as nn

from raeg_jax.networks.layers import Conv, MeanPool, Standardise, batch_norm, imagenet_stem


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: y = relu(x + f(x)).

    x: `[B, H, W, C]`; y: `[B, ceil(H / stride), ceil(W / stride), features]`.
    """

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps x to y; with `train`, batch norm uses and updates the batch's statistics."""
        y = Conv(self.features, (3, 3), self.stride, padding=1, use_bias=False)(x)
        y = nn.relu(batch_norm(train)(y))
        y = Conv(self.features, (3, 3), padding=1, use_bias=False)(y)
        # Each block starts as the identity, which makes short trainings settle sooner.
        y = batch_norm(train, scale_init=nn.initializers.zeros)(y)
        return nn.relu(y + shortcut(x, self.features, self.stride, train))


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut: y = relu(x + f(x)).

    The stride is at the 3x3 convolution, as in torchvision ("ResNet v1.5").
    x: `[B, H, W, C]`; y: `[B, ceil(H / stride), ceil(W / stride), 4 features]`.
    """

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps x to y; with `train`, batch norm uses and updates the batch's statistics."""
        y = Conv(self.features, (1, 1), use_bias=False)(x)
        y = nn.relu(batch_norm(train)(y))
        y = Conv(self.features, (3, 3), self.stride, padding=1, use_bias=False)(y)
        y = nn.relu(batch_norm(train)(y))
        y = Conv(4 * self.features, (1, 1), use_bias=False)(y)
        y = batch_norm(train, scale_init=nn.initializers.zeros)(y)
        return nn.relu(y + shortcut(x, 4 * self.features, self.stride, train))


def shortcut(x: jax.Array, features: int, stride: int, train: bool) -> jax.Array:
    """The input itself, or its 1x1 projection where channels or size change."""
    if stride == 1 and x.shape[-1] == features:
        return x
    x = Conv(features, (1, 1), stride, padding="VALID", use_bias=False, name="shortcut")(x)
    return batch_norm(train, name="shortcut_norm")(x)


class ResNet(nn.Module):
    """Stem, stages of residual blocks of doubling width, global mean, linear layer.

    Attributes:
      num_classes: K.
      stage_sizes: blocks in each stage; every stage after the first halves the map.
      block: `BasicBlock` or `BottleneckBlock`.
      width: features of the stem and of the first stage.
      stem: `imagenet_stem` or `small_stem`.
    """

    num_classes: int
    stage_sizes: Sequence[int]
    block: type[nn.Module] = BasicBlock
    width: int = 64
    stem: Callable[[jax.Array, int, bool], jax.Array] = imagenet_stem

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Maps images, float32 `[B, H, W, 3]` in pixel units, to logits `[B, K]`."""
        x = self.stem(Standardise()(images), self.width, train)
        for stage, size in enumerate(self.stage_sizes):
            for place in range(size):
                stride = 2 if stage > 0 and place == 0 else 1
                x = self.block(self.width * 2**stage, stride)(x, train)
        return nn.Dense(self.num_classes)(MeanPool()(x))
