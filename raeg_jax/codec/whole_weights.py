"""Weights of fixed-point layers as the whole numbers that they are: a byte each.

`fixed_point.snap_weights` rounds a layer's kernel to whole numbers of at most 7 bits, in units of
a power of two for each output channel, and its bias to 1/32 of these units. So a layer is

    kernel      int8 [..., features]
    bias        int32 [features]
    exponents   int8 [features]: 2^exponent units are 1

and its weights are `kernel / 2^exponents` and `bias / (32 * 2^exponents)`, exact in float32.
"""

import collections
from collections.abc import Mapping

import numpy as np

from raeg_jax.errors import UserError
from raeg_jax.invertible.fixed_point import whole_weights

_KERNEL, _BIAS, _EXPONENTS = "kernel", "bias", "exponents"
_TYPES = {_KERNEL: np.int8, _BIAS: np.int32, _EXPONENTS: np.int8}
# Of sums' unit in the weights': sums count in 1/32.
_SUM_BITS = 5
_MAX_EXPONENT = 12


def to_whole(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rounds layers to whole numbers; what is on its grid is only written otherwise.

    Args:
      arrays: float32, finite, by name: `LAYER/kernel` and `LAYER/bias` of fixed-point layers.

    Returns:
      `LAYER/kernel`, `LAYER/bias` and `LAYER/exponents`.
    """
    if other := [name for name, array in arrays.items() if array.dtype != np.float32]:
        raise ValueError(f"{other[0]} is {arrays[other[0]].dtype}, not float32")
    whole = {}
    for layer in sorted({name.rpartition("/")[0] for name in arrays}):
        kernel, bias = arrays[f"{layer}/{_KERNEL}"], arrays[f"{layer}/{_BIAS}"]
        kernel, bias, units = whole_weights(kernel, bias)
        parts = kernel, bias, np.frexp(units)[1] - 1
        for (part, dtype), values in zip(_TYPES.items(), parts, strict=True):
            whole[f"{layer}/{part}"] = values.astype(dtype)
    return whole


def to_float(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The reverse of `to_whole`, for what may be anything; zeros are positive.

    Raises:
      UserError: these are no layers, or an exponent is out of range.
    """
    layers = collections.defaultdict(dict)
    for name, array in arrays.items():
        layer, _, part = name.rpartition("/")
        layers[layer][part] = array
    weights = {}
    for layer, parts in layers.items():
        if {name: part.dtype.type for name, part in parts.items()} != _TYPES:
            raise UserError(
                f"{layer} isn't a layer of whole numbers with exponents: use the version of "
                "raeg-jax that exported it"
            )
        kernel, bias, exponents = (parts[name] for name in _TYPES)
        if not (kernel.shape[-1:] == bias.shape == exponents.shape):
            raise UserError(f"{layer} has other channels than exponents: take it from your copy")
        if not np.all((exponents >= 0) & (exponents <= _MAX_EXPONENT)):
            raise UserError(
                f"{layer}/{_EXPONENTS} aren't all 0 to {_MAX_EXPONENT}: take it from your copy"
            )
        exponents = exponents.astype(np.int32)
        weights[f"{layer}/{_KERNEL}"] = np.ldexp(kernel.astype(np.float32), -exponents)
        weights[f"{layer}/{_BIAS}"] = np.ldexp(bias.astype(np.float32), -exponents - _SUM_BITS)
    return weights
