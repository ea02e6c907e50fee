"""Classifiers whose logits and gradients are the same on every machine.

The modules of the trained classifier, with each layer replaced when it is called: convolutions,
dense layers and batch norm by those of `block_float`, pooling by operations that round at most
once. What modules compute between layers must be exact by itself: ReLU, concatenation, the sum of
two branches. The inputs of blocks are rounded, and so are the summed gradients of their branches.
"""

from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from raeg_jax.exact.block_float import PIXEL_PARTS, Layer, conv, scale, snap
from raeg_jax.exact.fixed_point import LIMIT, SUM_LIMIT
from raeg_jax.networks.layers import (
    Halve,
    MaxPool,
    MeanPool,
    Standardise,
    larger,
    network_input,
    preprocessing_of,
)

# Bits of the image's gradient, which enters no products. Where a small image was continued by
# reflection, the gradient of a pixel is a sum of up to 2^10 terms.
_IMAGE_BITS = 12


@flax.struct.dataclass
class FixedClassifier:
    """A classifier in evaluation mode and exact arithmetic; see `folding.fold_classifier`.

    A pytree, so that its weights are arguments of jitted functions rather than constants.

    Attributes:
      module: the classifier.
      layers: by path in the module; a batch norm without one is folded into the convolution before.
      first: path of the layer whose input is the image.
    """

    module: nn.Module = flax.struct.field(pytree_node=False)
    layers: Mapping[str, Layer]
    first: str = flax.struct.field(pytree_node=False)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images of any size to logits [B, K].

        Args:
          images: float32 [B, H, W, 3], multiples of 1/16 within 0..255.
        """
        images = network_input(images, preprocessing_of(self.module))
        with nn.intercept_methods(self._replace_layer):
            # Flax declares a tuple as well, which `apply` returns with `mutable` only.
            return self.module.apply({}, images, train=False)  # type: ignore[return-value]

    def _replace_layer(self, call, args, kwargs, context):
        module, path = context.module, "/".join(context.module.path)
        if context.method_name != "__call__" or not path:
            return call(*args, **kwargs)
        x, layer = args[0], self.layers.get(path)
        match module:
            case Standardise():
                mean = np.round(np.array(module.mean, np.float32) * PIXEL_PARTS) / PIXEL_PARTS
                return snap(x - mean, _IMAGE_BITS)
            case nn.Conv():
                return conv(x, layer, stride(module), path == self.first)
            case nn.Dense():
                return conv(x[:, None, None], layer)[:, 0, 0]
            case nn.BatchNorm():
                return x if layer is None else scale(x, layer)
            case Halve(mean=False):
                return call(x)
            case MaxPool():
                # Windows overlap: their gradients are rounded before they are added.
                return snap(_largest_of_three(_largest_of_three(x, 1), 2))
            case MeanPool():
                return _mean(snap(x))
        return call(snap(x), *args[1:], **kwargs)


def stride(conv: nn.Conv) -> int:
    """The stride of both axes of a convolution."""
    return int(max(np.ravel(conv.strides))) if conv.strides else 1


def _largest_of_three(x, axis):
    """Maximum of three neighbours, at every second index of one axis."""
    padding = [(1, 1) if i == axis else (0, 0) for i in range(4)]
    x = jnp.pad(x, padding, constant_values=np.finfo(np.float32).min)
    length = x.shape[axis] - 2
    a, b, c = (jax.lax.slice_in_dim(x, i, i + length, 2, axis) for i in range(3))
    return larger(larger(a, b), c)


def _mean(x):
    positions = x.shape[1] * x.shape[2]
    if positions * LIMIT >= SUM_LIMIT:
        raise ValueError(f"the mean of {positions} positions isn't exact: take smaller images")
    # Not a division, which compilers may or may not replace by this multiplication.
    return jnp.sum(x, axis=(1, 2)) * np.float32(1 / positions)
