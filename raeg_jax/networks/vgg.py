"""VGG networks with batch norm (Simonyan and Zisserman 2014, arXiv 1409.1556)."""

from collections.abc import Sequence

import jax
from flax import linen as nn

from raeg_jax.networks.layers import Conv, Halve, MeanPool, Standardise, batch_norm

# One entry a stage: the widths of its 3x3 convolutions; 2x2 max pooling ends a stage.
VGG16_STAGES = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)
VGG19_STAGES = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)


class VGG(nn.Module):
    """Stages of plain 3x3 convolutions, each followed by max pooling, then dense layers.

    No dropout: the same images give the same logits in training too.

    Attributes:
      num_classes: K.
      stages: widths of the convolutions of each stage.
      hidden: widths of the dense layers before the last.
      grid: the map is averaged to grid x grid positions before the dense layers, so that any
        image size works.
      stem_stride: stride of the first convolution.
    """

    num_classes: int
    stages: Sequence[Sequence[int]]
    hidden: Sequence[int] = (4096, 4096)
    grid: int = 7
    stem_stride: int = 1

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Maps images, float32 `[B, H, W, 3]` in pixel units, to logits `[B, K]`."""
        x = Standardise()(images)
        stride = self.stem_stride
        for widths in self.stages:
            for width in widths:
                # The bias is idle before batch norm; it is torchvision's parameter count.
                x = Conv(width, (3, 3), stride, padding=1)(x)
                x = nn.relu(batch_norm(train)(x))
                stride = 1
            x = Halve()(x)
        x = MeanPool(self.grid)(x)
        for width in self.hidden:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(self.num_classes)(x)
