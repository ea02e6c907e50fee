"""EfficientNet-Lite: the family of EfficientNets made for fixed-point arithmetic.

Tan and Le 2019, arXiv 1905.11946, without squeeze-and-excite and with ReLU6 in place of swish, as
Google published it (github.com/tensorflow/tpu, models/official/efficientnet/lite). Its
convolutions are padded as TensorFlow's 'SAME' does: with a stride of 2, an even map gets its odd
row of zeros at the end.
"""

import math
from collections.abc import Sequence

import jax
from flax import linen as nn

from raeg_jax.networks.layers import Conv, MeanPool, batch_norm, relu6, standardise
from raeg_jax.networks.preprocessing import Preprocessing

# For each stage: side of its depthwise kernels, blocks, features, expansion, stride of its first
# block.
LITE_STAGES = (
    (3, 1, 16, 1, 1),
    (3, 2, 24, 6, 2),
    (5, 2, 40, 6, 2),
    (3, 3, 80, 6, 2),
    (5, 3, 112, 6, 1),
    (5, 4, 192, 6, 2),
    (3, 1, 320, 6, 1),
)
# Of TensorFlow's batch norms.
_EPSILON = 1e-3


def scale_features(features: int, factor: float) -> int:
    """The nearest multiple of 8 to a scaled width, but not less than nine tenths of it."""
    scaled = factor * features
    nearest = max(8, int(scaled + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * scaled else nearest


class InvertedBottleneck(nn.Module):
    """1x1 expansion, depthwise convolution, linear 1x1 projection (arXiv 1801.04381).

    x: `[B, H, W, C]`; result: `[B, ceil(H / stride), ceil(W / stride), features]`. The input is
    added where shapes allow it.
    """

    features: int
    kernel: int
    expansion: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps x to the result; with `train`, batch norm uses and updates its statistics."""
        y, wide = x, self.expansion * x.shape[-1]
        if self.expansion > 1:
            y = relu6(_conv_norm(y, wide, (1, 1), 1, train, "expand"))
        size = (self.kernel, self.kernel)
        y = relu6(_conv_norm(y, wide, size, self.stride, train, "depthwise", wide))
        y = _conv_norm(y, self.features, (1, 1), 1, train, "project")
        return x + y if x.shape == y.shape else y


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite.

    Stem, stages of inverted bottlenecks, 1x1 convolution, global mean, linear layer. Stem and head
    keep their widths, the first and the last stage their depths. No dropout.

    Attributes:
      num_classes: K.
      width: factor of the features of all stages.
      depth: factor of the blocks of all stages but the first and the last.
      stages: see `LITE_STAGES`.
      stem: features of the stem.
      head: features of the last convolution.
      preprocessing: of published weights.
    """

    num_classes: int
    width: float = 1.0
    depth: float = 1.0
    stages: Sequence[tuple[int, int, int, int, int]] = LITE_STAGES
    stem: int = 32
    head: int = 1280
    preprocessing: Preprocessing | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Maps images, float32 `[B, H, W, 3]` in pixel units, to logits `[B, K]`."""
        x = standardise(self.preprocessing)(images)
        x = relu6(_conv_norm(x, self.stem, (3, 3), 2, train, "stem"))
        for stage, blocks in zip(self.stages, self.depths(), strict=True):
            kernel, _, features, expansion, stride = stage
            features = scale_features(features, self.width)
            for block in range(blocks):
                step = 1 if block else stride
                x = InvertedBottleneck(features, kernel, expansion, step)(x, train)
        x = relu6(_conv_norm(x, self.head, (1, 1), 1, train, "head"))
        return nn.Dense(self.num_classes)(MeanPool()(x))

    def depths(self) -> list[int]:
        """The number of blocks of each stage."""
        first, *middle, last = (blocks for _, blocks, *_ in self.stages)
        return [first, *(math.ceil(self.depth * blocks) for blocks in middle), last]


def _conv_norm(x, features, size, stride, train, name, groups=1):
    """Convolution and batch norm; call it in a compact method."""
    x = Conv(features, size, stride, "SAME", use_bias=False, feature_group_count=groups, name=name)(
        x
    )
    return batch_norm(train, _EPSILON, name=f"{name}_norm")(x)
