"""Densely connected networks (Huang et al. 2016, arXiv 1608.06993)."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from raeg_jax.networks.layers import (
    Conv,
    Halve,
    MeanPool,
    Standardise,
    batch_norm,
    imagenet_stem,
)


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
    """Stem, dense blocks with halving transitions between them, global mean, linear layer.

    Attributes:
      num_classes: K.
      block_sizes: layers of each dense block.
      growth: channels that each layer adds.
      width: features of the stem.
      bottleneck: width of a layer's 1x1 convolution, in multiples of `growth`.
      stem: `imagenet_stem` or `small_stem`.
    """

    num_classes: int
    block_sizes: Sequence[int]
    growth: int = 32
    width: int = 64
    bottleneck: int = 4
    stem: Callable[[jax.Array, int, bool], jax.Array] = imagenet_stem

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Maps images, float32 `[B, H, W, 3]` in pixel units, to logits `[B, K]`."""
        x = self.stem(Standardise()(images), self.width, train)
        for block, size in enumerate(self.block_sizes):
            if block > 0:
                x = nn.relu(batch_norm(train)(x))
                x = Conv(x.shape[-1] // 2, (1, 1), use_bias=False)(x)
                x = Halve(mean=True)(x)
            for _ in range(size):
                x = DenseLayer(self.growth, self.bottleneck)(x, train)
        x = nn.relu(batch_norm(train)(x))
        return nn.Dense(self.num_classes)(MeanPool()(x))
