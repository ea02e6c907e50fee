"""Block floating point: layers with gradients whose every sum is exact, on any machine.

The numbers of an image in a batch are whole numbers of at most 7 bits and a sign times one power of
two, the image's own, found from its largest magnitude; weights are alike, with a power of two for
each output channel. So sums of products are whole numbers of one unit. As long as they stay below
2^24, float32 holds them exactly, in any order (see `fixed_point`). The gradients that come back are
rounded in the same way and take the same sums backwards, where weights have as many bits as fan-in
and fan-out both allow. Nothing depends on the other images of a batch, and nothing is calibrated.

Between layers, one operation may round like any float, never two: what compilers do to several,
such as reordering sums or fusing a multiplication with an addition, changes results. Hence powers
of two come from the bits of numbers and not from `log2`, and sums end in a rounding that changes no
value, but which no compiler can see through.
"""

import functools

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.errors import UserError
from raeg_jax.invertible.fixed_point import SUM_LIMIT, patches, product, weight_limit

BITS = 7
# Exponents of powers of two: far enough from where float32 ends for products of three.
_LEAST, _MOST = -60, 30
_BIAS_LIMIT = 2**20
# No channel's unit is finer than that of the coarsest by more than this factor: all of them share
# a power of two in the next layer, so finer ones only leave less room for biases.
_FINER = 8
# Mantissa bits of float32, and the exponent of 1.
_MANTISSA, _BIAS = 23, 127
# Pixels come in sixteenths, and this far from 0.
PIXEL_PARTS = 16
_PIXEL_PEAK = 154


def whole(x: jax.Array, bits: int = BITS, least: jax.Array | int = _LEAST):
    """Splits an array into whole numbers and a power of two for each entry of the first axis.

    Args:
      x: float32 [B, ...].
      bits: of the whole numbers, without their sign.
      least: exponent of the smallest power of two to be used.

    Returns:
      Whole numbers, float32 [B, ...], and powers of two, float32 [B, 1, ...].
    """
    peak = jnp.max(jnp.abs(x), axis=tuple(range(1, x.ndim)), keepdims=True)
    exponent = (jax.lax.bitcast_convert_type(peak, jnp.int32) >> _MANTISSA) - _BIAS
    exponent = jnp.clip(exponent - (bits - 1), least, _MOST)
    limit = 2**bits - 1
    return jnp.clip(jnp.round(x * _power(-exponent)), -limit, limit), _power(exponent)


def _power(exponent):
    return jax.lax.bitcast_convert_type((exponent + _BIAS) << _MANTISSA, jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def snap(x: jax.Array, bits: int = BITS) -> jax.Array:
    """Rounds an array to `whole` numbers times a power of two, and its gradient in the same way."""
    numbers, step = whole(x, bits)
    return numbers * step


snap.defvjp(lambda x, bits: (snap(x, bits), None), lambda bits, _, g: (snap(g, bits),))


@flax.struct.dataclass
class Layer:
    """Weights of a convolution, or of a multiplication of each channel.

    Attributes:
      kernel: whole numbers as float32 [rows, columns, channels, features], or [features].
      bias: float32 [features], in `units`.
      units: float32 [features], powers of two: what 1 in `kernel` stands for.
      least: int32, exponent of the finest inputs for which the bias is not too large.
    """

    kernel: jax.Array
    bias: jax.Array
    units: jax.Array
    least: jax.Array


def make_layer(kernel: np.ndarray, bias: np.ndarray, pixels: bool = False) -> Layer:
    """Rounds weights such that no sum can be too large, forwards or backwards.

    In NumPy, where division and rounding are the same on all machines.

    Args:
      kernel: float64 [rows, columns, channels, features] of a convolution, or [features].
      bias: float64 [features].
      pixels: inputs are pixel values, see `conv`.

    Raises:
      UserError: weights that are not finite, or as large as no network's.
    """
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
        raise UserError("some of its weights are not finite")
    if max(np.abs(kernel).max(), np.abs(bias).max()) >= SUM_LIMIT:
        raise UserError("some of its weights are larger than 2^24")
    fans = [1]
    if kernel.ndim > 1:
        rows, columns, channels, features = kernel.shape
        fan_in = rows * columns * channels
        # Counted in inputs of 7 bits.
        fans = [fan_in * (_PIXEL_PEAK * PIXEL_PARTS // 127 + 1 if pixels else 1)]
        fans += [rows * columns * features]
    limit = weight_limit(max(fans))
    if 127 * max(fans) + _BIAS_LIMIT >= SUM_LIMIT:
        raise UserError(f"it sums up {max(fans)} products, too many to be exact")
    units = _at_least(np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1))) / limit)
    units = np.maximum(units, units.max() / _FINER)
    if pixels:
        units = np.maximum(units, _at_least(np.abs(bias) * PIXEL_PARTS / _BIAS_LIMIT))
    numbers = np.clip(np.rint(kernel / units), -limit, limit)
    bias = np.float32(bias / units)
    least = np.log2(_at_least(np.abs(bias).max() / _BIAS_LIMIT))
    return Layer(
        *(jnp.asarray(x, jnp.float32) for x in (numbers, bias, units)),
        least=jnp.int32(np.clip(np.rint(least), _LEAST, _MOST)),
    )


def _at_least(x):
    """The least power of two that is not smaller, or 2^_LEAST."""
    mantissa, exponent = np.frexp(np.maximum(x, 2.0**_LEAST))
    return np.ldexp(1.0, exponent - (mantissa == 0.5))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(x: jax.Array, layer: Layer, strides: int = 1, pixels: bool = False) -> jax.Array:
    """A convolution, padded with zeros by half its size.

    Args:
      x: float32 [B, h, w, C].
      layer: of `make_layer`.
      strides: of both axes.
      pixels: x is not rounded: it holds whole sixteenths, at most 154 in magnitude.

    Returns:
      float32 [B, ceil(h / s), ceil(w / s), features]: whole numbers below 2^24 times a power of
      two for each image and feature. The gradient in x is of the same kind, in the weights none.
    """
    if pixels:
        # Factors of more than 8 bits are rounded by fast matrix units: x is a sum of two.
        high = jnp.round(x / 2) * 2
        step = jnp.full((len(x), 1, 1, 1), 1 / PIXEL_PARTS, jnp.float32)
        parts = high * PIXEL_PARTS, (x - high) * PIXEL_PARTS
    else:
        numbers, step = whole(x, least=layer.least)
        parts = (numbers,)
    sums = sum(_product(part, layer.kernel, strides) for part in parts)
    return jnp.round(sums + _bias(layer, step)) * (step * layer.units)


def _conv_backward(strides, pixels, saved, g):
    del pixels
    x, layer = saved
    # Each feature has its unit, and what is summed up must have one in common.
    numbers, step = whole(g * layer.units)
    back = jax.linear_transpose(lambda x: _product(x, layer.kernel, strides), x)
    return jnp.round(back(numbers)[0]) * step, None


conv.defvjp(lambda x, layer, *static: (conv(x, layer, *static), (x, layer)), _conv_backward)


def _product(x, kernel, strides):
    return product(patches(x, kernel.shape[:2], strides), kernel.reshape(-1, kernel.shape[-1]))


def _bias(layer, step):
    exponent = (jax.lax.bitcast_convert_type(step, jnp.int32) >> _MANTISSA) - _BIAS
    return jnp.round(layer.bias * _power(-exponent))


@jax.custom_vjp
def scale(x: jax.Array, layer: Layer) -> jax.Array:
    """Multiplies each channel by a number and adds a bias: float32 [B, h, w, C], results as `conv`.

    Args:
      x: float32 [B, h, w, C].
      layer: of `make_layer`, with a kernel [C].
    """
    numbers, step = whole(x, least=layer.least)
    return jnp.round(numbers * layer.kernel + _bias(layer, step)) * (step * layer.units)


def _scale_backward(layer, g):
    numbers, step = whole(g * layer.units)
    return numbers * layer.kernel * step, None


scale.defvjp(lambda x, layer: (scale(x, layer), layer), _scale_backward)
