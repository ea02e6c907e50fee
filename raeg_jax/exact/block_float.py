"""Block floating point: layers with gradients whose every sum is exact, on any machine.

The activations of each image are integers of at most 7 bits and a sign times one power of two,
which follows from the image's largest magnitude; weights likewise, with a power of two for each
output channel. So sums of products are integer multiples of one unit. As long as they stay below
2^24 units, float32 holds them exactly, in any order (see `fixed_point`). Gradients are rounded in
the same way and summed exactly too; fan-in and fan-out together limit the bits of the weights.
Nothing depends on the other images of a batch, and nothing is calibrated.

Between layers at most one operation rounds: compilers may reorder several, or fuse a multiplication
with an addition, which changes results. Hence powers of two come from the bits of numbers and not
from `log2`, and sums end in a rounding that changes no value, but that no compiler can remove.
"""

import functools

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.errors import UserError
from raeg_jax.exact.fixed_point import SUM_LIMIT, patches, product, weight_limit

BITS = 7
# Least and greatest exponent: products of three such powers stay within the range of float32.
_LEAST, _MOST = -60, 30
_BIAS_LIMIT = 2**20
# A channel's unit is at most this factor finer than the coarsest one: all channels share a power of
# two in the next layer, so finer units only narrow the range of biases.
_FINER = 8
# Mantissa bits of float32, and the exponent of 1.
_MANTISSA, _BIAS = 23, 127
# Pixels are multiples of 1/16, of at most this magnitude.
PIXEL_PARTS = 16
_PIXEL_PEAK = 154


def to_integers(
    x: jax.Array, bits: int = BITS, least: jax.Array | int = _LEAST
) -> tuple[jax.Array, jax.Array]:
    """Rounds to integers times a power of two, one power for each entry of the first axis.

    Args:
      x: float32 [B, ...].
      bits: of the integers, without their sign.
      least: exponent of the smallest power of two to use.

    Returns:
      The integers, float32 [B, ...], and the powers of two, float32 [B, 1, ...].
    """
    peak = jnp.max(jnp.abs(x), axis=tuple(range(1, x.ndim)), keepdims=True)
    exponent = jnp.clip(_exponent(peak) - (bits - 1), least, _MOST)
    limit = 2**bits - 1
    return jnp.clip(jnp.round(x * _power(-exponent)), -limit, limit), _power(exponent)


def _exponent(x):
    """Of the greatest power of two within x >= 0, from its bits."""
    return (jax.lax.bitcast_convert_type(x, jnp.int32) >> _MANTISSA) - _BIAS


def _power(exponent):
    return jax.lax.bitcast_convert_type((exponent + _BIAS) << _MANTISSA, jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def snap(x: jax.Array, bits: int = BITS) -> jax.Array:
    """Rounds an array as `to_integers` does, and its gradient likewise."""
    numbers, step = to_integers(x, bits)
    return numbers * step


snap.defvjp(lambda x, bits: (snap(x, bits), None), lambda bits, _, g: (snap(g, bits),))


@flax.struct.dataclass
class Layer:
    """Weights of a convolution, or of a multiplication of each channel.

    Attributes:
      kernel: integers as float32 [rows, columns, channels, features], or [features].
      bias: float32 [features], in `units`.
      units: float32 [features], powers of two: the value of 1 in `kernel`.
      least: int32, least exponent of inputs; with a smaller one the bias would be too large.
    """

    kernel: jax.Array
    bias: jax.Array
    units: jax.Array
    least: jax.Array


def make_layer(kernel: np.ndarray, bias: np.ndarray, pixels: bool = False) -> Layer:
    """Rounds weights so that no sum reaches 2^24, forwards or backwards.

    Computed in NumPy: its division and rounding are the same on all machines.

    Args:
      kernel: float64 [rows, columns, channels, features] of a convolution, or [features].
      bias: float64 [features].
      pixels: whether inputs are pixel values, see `conv`.

    Raises:
      UserError: weights that are not finite or above 2^24, or too many products in a sum.
    """
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
        raise UserError("some of its weights are not finite")
    if max(np.abs(kernel).max(), np.abs(bias).max()) >= SUM_LIMIT:
        raise UserError("some of its weights are larger than 2^24")
    fans = [1]
    if kernel.ndim > 1:
        rows, columns, channels, features = kernel.shape
        fan_in = rows * columns * channels
        # In terms of inputs of 7 bits.
        fans = [fan_in * (_PIXEL_PEAK * PIXEL_PARTS // 127 + 1 if pixels else 1)]
        fans += [rows * columns * features]
    limit = weight_limit(max(fans))
    if 127 * max(fans) + _BIAS_LIMIT >= SUM_LIMIT:
        raise UserError(f"it sums up {max(fans)} products, too many to be exact")
    units = _power_above(np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1))) / limit)
    units = np.maximum(units, units.max() / _FINER)
    if pixels:
        units = np.maximum(units, _power_above(np.abs(bias) * PIXEL_PARTS / _BIAS_LIMIT))
    numbers = np.clip(np.rint(kernel / units), -limit, limit)
    bias = (bias / units).astype(np.float32)
    least = np.log2(_power_above(np.abs(bias).max() / _BIAS_LIMIT))
    return Layer(
        jnp.asarray(numbers, jnp.float32),
        jnp.asarray(bias, jnp.float32),
        jnp.asarray(units, jnp.float32),
        jnp.int32(np.clip(np.rint(least), _LEAST, _MOST)),
    )


def _power_above(x):
    """The least power of two that is at least x and 2^_LEAST."""
    mantissa, exponent = np.frexp(np.maximum(x, 2.0**_LEAST))
    return np.ldexp(1.0, exponent - (mantissa == 0.5))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(x: jax.Array, layer: Layer, strides: int = 1, pixels: bool = False) -> jax.Array:
    """A convolution, padded with zeros by half its kernel size.

    Args:
      x: float32 [B, h, w, C].
      layer: from `make_layer`.
      strides: of both axes.
      pixels: x is not rounded: it holds multiples of 1/16, at most 154 in magnitude.

    Returns:
      float32 [B, ceil(h / s), ceil(w / s), features]: integers below 2^24 times a power of two for
      each image and feature. So is the gradient in x; the weights have no gradient.
    """
    if pixels:
        # Fast matrix units round factors of more than 8 bits, so x is split into two parts.
        high = jnp.round(x / 2) * 2
        step = jnp.full((len(x), 1, 1, 1), 1 / PIXEL_PARTS, jnp.float32)
        parts = [high * PIXEL_PARTS, (x - high) * PIXEL_PARTS]
    else:
        numbers, step = to_integers(x, least=layer.least)
        parts = [numbers]
    sums = sum(_product(part, layer.kernel, strides) for part in parts)
    return jnp.round(sums + _bias(layer, step)) * (step * layer.units)


def _conv_backward(strides, pixels, saved, g):
    del pixels
    x, layer = saved
    # Features have different units, but the terms of a sum must share one.
    numbers, step = to_integers(g * layer.units)
    back = jax.linear_transpose(lambda x: _product(x, layer.kernel, strides), x)
    return jnp.round(back(numbers)[0]) * step, None


conv.defvjp(lambda x, layer, *static: (conv(x, layer, *static), (x, layer)), _conv_backward)


def _product(x, kernel, strides):
    return product(patches(x, kernel.shape[:2], strides), kernel.reshape(-1, kernel.shape[-1]))


def _bias(layer, step):
    return jnp.round(layer.bias * _power(-_exponent(step)))


@jax.custom_vjp
def scale(x: jax.Array, layer: Layer) -> jax.Array:
    """Multiplies each channel by a number and adds a bias: float32 [B, h, w, C], results as `conv`.

    Args:
      x: float32 [B, h, w, C].
      layer: from `make_layer`, with a kernel [C].
    """
    numbers, step = to_integers(x, least=layer.least)
    return jnp.round(numbers * layer.kernel + _bias(layer, step)) * (step * layer.units)


def _scale_backward(layer, g):
    numbers, step = to_integers(g * layer.units)
    return numbers * layer.kernel * step, None


scale.defvjp(lambda x, layer: (scale(x, layer), layer), _scale_backward)
