"""Classifiers whose logits and gradients are the same on every machine.

The modules of the trained classifier, with each layer replaced when it is called: convolutions,
dense layers and batch norm by those of `block_float`, pooling by operations that round at most
once. What modules compute between layers must be exact by itself: ReLU, concatenation, the sum of
two branches. The inputs of blocks are rounded, and so are the summed gradients of their branches.
"""

import functools
import math
from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from raeg_jax.exact.block_float import OWN, PIXEL_PARTS, Layer, Widths, conv, scale, snap
from raeg_jax.exact.fixed_point import SUM_LIMIT, Padding
from raeg_jax.exact.resample import resize
from raeg_jax.networks.layers import (
    Halve,
    MaxPool,
    MeanPool,
    Standardise,
    interpolated_shape,
    larger,
    network_input,
    pool_windows,
    preprocessing_of,
)

# Bits of the image's gradient, which enters no products.
_IMAGE_BITS = 12


@flax.struct.dataclass
class FixedClassifier:
    """A classifier in evaluation mode and exact arithmetic; see `folding.fold_classifier`.

    A pytree, so that its weights are arguments of jitted functions rather than constants.

    Attributes:
      module: the classifier.
      layers: by path in the module; a batch norm without one is folded into the convolution before.
      first: path of the layer whose input is the image.
      widths: bits of the integers.
    """

    module: nn.Module = flax.struct.field(pytree_node=False)
    layers: Mapping[str, Layer]
    first: str = flax.struct.field(pytree_node=False)
    widths: Widths = flax.struct.field(pytree_node=False, default=OWN)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps images of any size to logits [B, K].

        Args:
          images: float32 [B, H, W, 3], multiples of 1/16 within 0..255.
        """
        preprocessing = preprocessing_of(self.module)
        if shape := interpolated_shape(images, preprocessing):
            images = resize(images, shape)
        seen = network_input(images, preprocessing)
        bits = min(_IMAGE_BITS, _gradient_bits(images.shape, seen.shape))
        with nn.intercept_methods(functools.partial(self._replace_layer, bits)):
            # Flax declares a tuple as well, which `apply` returns with `mutable` only.
            return self.module.apply({}, seen, train=False)  # type: ignore[return-value]

    def _replace_layer(self, image_bits, call, args, kwargs, context):
        module, path = context.module, "/".join(context.module.path)
        if context.method_name != "__call__" or not path:
            return call(*args, **kwargs)
        x, layer, between = args[0], self.layers.get(path), self.widths.between
        match module:
            case Standardise():
                mean = np.round(np.array(module.mean, np.float32) * PIXEL_PARTS) / PIXEL_PARTS
                return snap(x - mean, _IMAGE_BITS, image_bits)
            case nn.Conv():
                zeros = padding(module, x.shape, self.layers[path].kernel.shape[:2])
                return conv(x, layer, stride(module), path == self.first, zeros)
            case nn.Dense():
                return conv(x[:, None, None], layer)[:, 0, 0]
            case nn.BatchNorm():
                return x if layer is None else scale(x, layer)
            case Halve(mean=False):
                return call(x)
            case MaxPool():
                # Windows overlap: their gradients are rounded before they are added.
                return snap(_largest_of_three(_largest_of_three(x, 1), 2), between)
            case MeanPool():
                return _mean(x, module.size, self.widths)
        return call(snap(x, between), *args[1:], **kwargs)


def stride(conv: nn.Conv) -> int:
    """The stride of both axes of a convolution."""
    return int(max(np.ravel(conv.strides))) if conv.strides else 1


def padding(conv: nn.Conv, shape: tuple[int, ...], size: tuple[int, ...]) -> Padding:
    """The zeros that a convolution with a kernel of some size adds around images of a shape."""
    given = conv.padding
    if isinstance(given, str):
        return tuple(jax.lax.padtype_to_pads(shape[1:3], size, (stride(conv),) * 2, given))
    sides = (given, given) if isinstance(given, int) else given
    return tuple((side, side) if isinstance(side, int) else (side[0], side[1]) for side in sides)


def _largest_of_three(x, axis):
    """Maximum of three neighbours, at every second index of one axis."""
    padding = [(1, 1) if i == axis else (0, 0) for i in range(4)]
    x = jnp.pad(x, padding, constant_values=np.finfo(np.float32).min)
    length = x.shape[axis] - 2
    a, b, c = (jax.lax.slice_in_dim(x, i, i + length, 2, axis) for i in range(3))
    return larger(larger(a, b), c)


def _mean(x, size, widths):
    """Means of the windows of `MeanPool`: float32 [B, h, w, C] -> [B, size * size * C]."""
    x = snap(x, widths.channels)
    height, width = x.shape[1:3]
    for axis, length in ((1, height), (2, width)):
        windows = [
            jnp.sum(jax.lax.slice_in_dim(x, *bounds, axis=axis), axis=axis)
            for bounds in pool_windows(length, size)
        ]
        x = jnp.stack(windows, axis=axis)
    area = np.outer(*(np.diff(pool_windows(n, size)) for n in (height, width)))
    if area.max() * 2**widths.channels > SUM_LIMIT:
        raise ValueError(f"the mean of {area.max()} positions isn't exact: take smaller images")
    # Windows overlap: their gradients are rounded before they are added.
    if size > 1:
        x = snap(x, widths.between)
    # Not a division, which compilers may or may not replace by this multiplication.
    shares = (1 / area).astype(np.float32)
    return (x * shares[..., None]).reshape(len(x), -1)


def _gradient_bits(original, seen):
    """Bits of the gradient in a network's input with which that in the image is exact.

    Where a small image was enlarged or continued by reflection, the gradient of a pixel is a sum.
    """
    terms = math.prod(-(-seen[axis] // original[axis]) for axis in (1, 2))
    return (SUM_LIMIT // terms).bit_length() - 1
