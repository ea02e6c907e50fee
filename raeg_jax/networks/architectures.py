"""Network architectures: ResNet, VGG and DenseNet, built by the names in `networks.classifiers`.

Every classifier is a Flax module `module(images, train) -> logits`: images float32
`[B, H, W, 3]` in pixel units 0..255, logits float32 `[B, K]`; variables `params` and
`batch_stats`. With `train=False` it uses the running statistics and changes nothing; with
`train=True` it needs `mutable=["batch_stats"]`.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from raeg_jax.networks.layers import (
    Conv,
    Halve,
    MeanPool,
    batch_norm,
    imagenet_stem,
    standardise,
)
from raeg_jax.networks.preprocessing import Preprocessing

# For each stage the widths of its 3x3 convolutions; 2x2 max pooling ends a stage.
VGG16_STAGES = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)
VGG19_STAGES = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)


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
        # Each block starts as the identity: short trainings converge sooner.
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
    """Residual network (He et al. 2015, arXiv 1512.03385).

    Stem, stages of residual blocks of doubling width, global mean, linear layer.

    Attributes:
      num_classes: K.
      stage_sizes: blocks in each stage; every stage after the first halves the map.
      block: `BasicBlock` or `BottleneckBlock`.
      width: features of the stem and of the first stage.
      stem: `imagenet_stem` or `small_stem`.
      preprocessing: of published weights.
    """

    num_classes: int
    stage_sizes: Sequence[int]
    block: type[nn.Module] = BasicBlock
    width: int = 64
    stem: Callable[[jax.Array, int, bool], jax.Array] = imagenet_stem
    preprocessing: Preprocessing | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Maps images, float32 `[B, H, W, 3]` in pixel units, to logits `[B, K]`."""
        x = self.stem(standardise(self.preprocessing)(images), self.width, train)
        for stage, size in enumerate(self.stage_sizes):
            for index in range(size):
                stride = 2 if stage > 0 and index == 0 else 1
                x = self.block(self.width * 2**stage, stride)(x, train)
        return nn.Dense(self.num_classes)(MeanPool()(x))


class VGG(nn.Module):
    """VGG network, with or without batch norm (Simonyan and Zisserman 2014, arXiv 1409.1556).

    Stages of plain 3x3 convolutions, each followed by max pooling, then dense layers. No dropout:
    the same images give the same logits in training too.

    Attributes:
      num_classes: K.
      stages: widths of the convolutions of each stage.
      hidden: widths of the dense layers before the last.
      grid: the map is averaged to grid x grid positions before the dense layers, so that any
        image size works.
      stem_stride: stride of the first convolution.
      norm: whether batch norm follows each convolution.
      preprocessing: of published weights.
    """

    num_classes: int
    stages: Sequence[Sequence[int]]
    hidden: Sequence[int] = (4096, 4096)
    grid: int = 7
    stem_stride: int = 1
    norm: bool = True
    preprocessing: Preprocessing | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Maps images, float32 `[B, H, W, 3]` in pixel units, to logits `[B, K]`."""
        x = standardise(self.preprocessing)(images)
        stride = self.stem_stride
        for widths in self.stages:
            for width in widths:
                # Batch norm cancels the bias, which torchvision's parameter count includes.
                x = Conv(width, (3, 3), stride, padding=1)(x)
                x = nn.relu(batch_norm(train)(x) if self.norm else x)
                stride = 1
            x = Halve()(x)
        x = MeanPool(self.grid)(x)
        for width in self.hidden:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(self.num_classes)(x)


class DenseLayer(nn.Module):
    """Appends `growth` new channels to its input: y = (x, f(x)), f a bottleneck.

    x: `[B, H, W, C]`; y: `[B, H, W, C + growth]`.
    """

    growth: int
    bottleneck: int = 4

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps x to y; with `train`, batch norm uses and updates the batch's statistics."""
        y = nn.relu(batch_norm(train)(x))
        y = Conv(self.bottleneck * self.growth, (1, 1), use_bias=False)(y)
        y = nn.relu(batch_norm(train)(y))
        y = Conv(self.growth, (3, 3), padding=1, use_bias=False)(y)
        return jnp.concatenate([x, y], axis=-1)


class DenseNet(nn.Module):
    """Densely connected network (Huang et al. 2016, arXiv 1608.06993).

    Stem, dense blocks with halving transitions between them, global mean, linear layer.

    Attributes:
      num_classes: K.
      block_sizes: layers of each dense block.
      growth: channels that each layer adds.
      width: features of the stem.
      bottleneck: width of a layer's 1x1 convolution, in multiples of `growth`.
      stem: `imagenet_stem` or `small_stem`.
      preprocessing: of published weights.
    """

    num_classes: int
    block_sizes: Sequence[int]
    growth: int = 32
    width: int = 64
    bottleneck: int = 4
    stem: Callable[[jax.Array, int, bool], jax.Array] = imagenet_stem
    preprocessing: Preprocessing | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Maps images, float32 `[B, H, W, 3]` in pixel units, to logits `[B, K]`."""
        x = self.stem(standardise(self.preprocessing)(images), self.width, train)
        for block, size in enumerate(self.block_sizes):
            if block > 0:
                x = nn.relu(batch_norm(train)(x))
                x = Conv(x.shape[-1] // 2, (1, 1), use_bias=False)(x)
                x = Halve(mean=True)(x)
            for _ in range(size):
                x = DenseLayer(self.growth, self.bottleneck)(x, train)
        x = nn.relu(batch_norm(train)(x))
        return nn.Dense(self.num_classes)(MeanPool()(x))
