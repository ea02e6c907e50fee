"""Block floating point: layers with gradients whose every sum is exact, on any machine.

The activations of each image are integers of a few bits and a sign times one power of two, which
follows from the image's largest magnitude; weights likewise, with a power of two for each output
channel. So sums of products are integer multiples of one unit. As long as they stay below 2^24
units, float32 holds them exactly, in any order (see `fixed_point`). Gradients are rounded in the
same way and summed exactly too. Nothing depends on the other images of a batch, and nothing is
calibrated.

Small networks of a run have 7 bits everywhere, and fan-in and fan-out together limit the bits of
the weights (`OWN`). Published networks lose too much by that: they have as many bits as a product
can take, and sums that would be too large are split (`PUBLISHED`).

Between layers at most one operation rounds: compilers may reorder several, or fuse a multiplication
with an addition, which changes results. Hence powers of two come from the bits of numbers and not
from `log2`, and sums end in a rounding that changes no value, but that no compiler can remove.
"""

import functools
import math
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.errors import UserError
from raeg_jax.exact.fixed_point import SUM_LIMIT, Padding, patches, product, weight_limit
from raeg_jax.networks.convolution import depthwise, depthwise_gradient

# Least and greatest exponent: products of three such powers stay within the range of float32.
_LEAST, _MOST = -60, 30
_BIAS_LIMIT = 2**20
_SUMS = SUM_LIMIT - _BIAS_LIMIT
# A channel's unit is at most this factor finer than the coarsest one: all channels share a power of
# two in the next layer, so finer units only narrow the range of biases.
_FINER = 8
# Mantissa bits of float32, and the exponent of 1.
_MANTISSA, _BIAS = 23, 127
# Pixels are multiples of 1/16, of at most this magnitude.
PIXEL_PARTS = 16
PIXEL_PEAK = 154


class Widths(NamedTuple):
    """Bits of the integers of a classifier, without their signs.

    Attributes:
      factors: of matrix products; fast matrix units keep 8 bits of each factor.
      channels: of products within a channel, which are computed in float32.
      between: of numbers that enter no products.
    """

    factors: int
    channels: int
    between: int


OWN = Widths(7, 7, 7)
PUBLISHED = Widths(8, 10, 12)


def to_integers(
    x: jax.Array, bits: int = OWN.between, least: jax.Array | int = _LEAST
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def snap(x: jax.Array, bits: int = OWN.between, backward: int | None = None) -> jax.Array:
    """Rounds an array as `to_integers` does, and its gradient likewise.

    Args:
      x: float32 [B, ...].
      bits: of the integers.
      backward: bits of the gradient's integers; None for `bits`.
    """
    numbers, step = to_integers(x, bits)
    return numbers * step


snap.defvjp(
    lambda x, bits, backward: (snap(x, bits), None),
    lambda bits, backward, _, g: (snap(g, backward or bits),),
)


class Split(NamedTuple):
    """How sums that float32 would not hold are added up.

    Attributes:
      parts: how many equal parts of the products are summed exactly.
      shift: exponent of the power of two that the sum of each part is rounded to.
    """

    parts: int = 1
    shift: int = 0


@flax.struct.dataclass
class Layer:
    """Weights of a convolution, or of a multiplication of each channel.

    Attributes:
      kernel: integers as float32 [rows, columns, channels, features], or [rows, columns, features]
        of a depthwise convolution, or [features].
      bias: float32 [features], in `units` times 2^shift.
      units: float32 [features], powers of two: the value of 1 in `kernel`.
      least: int32, least exponent of inputs; with a smaller one the bias would be too large.
      bits: of inputs and gradients.
      forward, backward: how sums of outputs, and of gradients of inputs, are added up.
    """

    kernel: jax.Array
    bias: jax.Array
    units: jax.Array
    least: jax.Array
    bits: int = flax.struct.field(pytree_node=False, default=OWN.factors)
    forward: Split = flax.struct.field(pytree_node=False, default=Split())
    backward: Split = flax.struct.field(pytree_node=False, default=Split())


def make_layer(
    kernel: np.ndarray, bias: np.ndarray, pixels: bool = False, widths: Widths = OWN
) -> Layer:
    """Rounds weights so that no sum reaches 2^24, forwards or backwards.

    Computed in NumPy: its division and rounding are the same on all machines.

    Args:
      kernel: float64, of a shape of `Layer.kernel`.
      bias: float64 [features].
      pixels: whether inputs are pixel values, see `conv`.
      widths: `OWN` or `PUBLISHED`.

    Raises:
      UserError: weights that are not finite or above 2^24, or too many products in a sum.
    """
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
        raise UserError("some of its weights are not finite")
    if max(np.abs(kernel).max(), np.abs(bias).max()) >= SUM_LIMIT:
        raise UserError("some of its weights are larger than 2^24")
    bits = widths.factors if kernel.ndim == 4 else widths.channels
    limit = _own_limit(kernel, pixels) if widths == OWN else 2**bits - 1
    axes = tuple(range(kernel.ndim - 1))
    units = _power_above(np.maximum(kernel.max(axis=axes), -kernel.min(axis=axes)) / limit)
    units = np.maximum(units, units.max() / _FINER)
    if pixels:
        units = np.maximum(units, _power_above(np.abs(bias) * PIXEL_PARTS / _BIAS_LIMIT))
    numbers = _round(kernel, units, limit)
    if kernel.ndim < 4:
        # Sums within a channel are not split.
        while (large := _columns(numbers).sum(0) * (2**bits - 1) >= _SUMS).any():
            units = np.where(large, 2 * units, units)
            numbers = _round(kernel, units, limit)
    forward, backward = Split(), Split()
    if kernel.ndim == 4 and widths != OWN:
        forward, backward = _splits(numbers, 2**bits - 1, pixels)
    bias = (bias / (units * 2.0**forward.shift)).astype(np.float32)
    least = np.log2(_power_above(np.abs(bias).max() / _BIAS_LIMIT))
    return Layer(
        jnp.asarray(numbers, jnp.float32),
        jnp.asarray(bias, jnp.float32),
        jnp.asarray(units, jnp.float32),
        jnp.int32(np.clip(np.rint(least), _LEAST, _MOST)),
        bits,
        forward,
        backward,
    )


def _own_limit(kernel, pixels):
    """The largest weight of a network of a run: from the number of products alone."""
    fans = [math.prod(kernel.shape[:-1]) if kernel.ndim > 1 else 1]
    if kernel.ndim == 4:
        # In terms of inputs of 7 bits.
        fans[0] *= PIXEL_PEAK * PIXEL_PARTS // 127 + 1 if pixels else 1
        fans.append(math.prod(kernel.shape[:2]) * kernel.shape[-1])
    if 127 * max(fans) + _BIAS_LIMIT >= SUM_LIMIT:
        raise UserError(f"it sums up {max(fans)} products, too many to be exact")
    return weight_limit(max(fans))


def _round(kernel, units, limit):
    numbers = kernel / units
    return np.clip(np.rint(numbers, out=numbers), -limit, limit, out=numbers)


def _columns(numbers):
    """Magnitudes of the weights of each output: [products, features]."""
    return np.abs(numbers).reshape(-1, numbers.shape[-1])


def _splits(numbers, peak, pixels):
    """How the sums of a convolution are added up, forwards and backwards."""
    rows, columns, channels, features = numbers.shape
    # Pixels are multiplied in two parts, of which the upper one is a multiple of 32.
    forward = _split(_columns(numbers), peak, 1, PIXEL_PEAK * PIXEL_PARTS if pixels else peak)
    # Backwards, products are summed over the features first and then over rows and columns.
    back = np.abs(numbers).reshape(-1, channels, features).transpose(2, 0, 1)
    return forward, _split(back, peak, rows * columns, peak)


def _split(weights, peak, taps, largest):
    """The fewest parts of the first axis whose sums are exact, and the shift of all sums."""
    fan = len(weights)
    parts = 1
    while fan % parts or peak * weights.reshape(parts, fan // parts, -1).sum(1).max() >= SUM_LIMIT:
        parts += 1
    total = largest * weights.sum(0).reshape(taps, -1).sum(0).max()
    shift = 0
    # Rounding adds a half to each part.
    while total / 2**shift + parts * taps >= _SUMS:
        shift += 1
    return Split(parts, shift)


def _power_above(x):
    """The least power of two that is at least x and 2^_LEAST."""
    mantissa, exponent = np.frexp(np.maximum(x, 2.0**_LEAST))
    return np.ldexp(1.0, exponent - (mantissa == 0.5))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def conv(
    x: jax.Array,
    layer: Layer,
    strides: int = 1,
    pixels: bool = False,
    padding: Padding | None = None,
) -> jax.Array:
    """A convolution, padded with zeros.

    Args:
      x: float32 [B, h, w, C].
      layer: from `make_layer`.
      strides: of both axes.
      pixels: x is not rounded: it holds multiples of 1/16, at most 154 in magnitude.
      padding: of rows and columns; None for half the kernel's size, not of depthwise kernels.

    Returns:
      float32 [B, h', w', features]: integers below 2^24 times a power of two for
      each image and feature. So is the gradient in x; the weights have no gradient.
    """
    if pixels:
        # Fast matrix units round factors of more than 8 bits, so x is split into two parts.
        high = jnp.round(x / 2) * 2
        step = jnp.full((len(x), 1, 1, 1), 1 / PIXEL_PARTS, jnp.float32)
        parts = [high * PIXEL_PARTS, (x - high) * PIXEL_PARTS]
    else:
        numbers, step = to_integers(x, layer.bits, layer.least)
        parts = [numbers]
    sums = sum(_product(part, layer, strides, padding) for part in parts)
    return jnp.round(sums + _bias(layer, step)) * (step * layer.units * 2.0**layer.forward.shift)


def _conv_backward(strides, pixels, padding, saved, g):
    del pixels
    x, layer = saved
    # Features have different units, but the terms of a sum must share one.
    numbers, step = to_integers(g * layer.units, layer.bits)
    kernel = layer.kernel
    if kernel.ndim == 3:
        sums = depthwise_gradient(numbers, kernel, strides, padding, x.shape)
    else:
        sums = _sums(numbers, kernel.reshape(-1, kernel.shape[-1]).T, layer.backward)
        seen = functools.partial(patches, size=kernel.shape[:2], strides=strides, padding=padding)
        (sums,) = jax.linear_transpose(seen, x)(sums)
    return jnp.round(sums) * (step * 2.0**layer.backward.shift), None


conv.defvjp(lambda x, layer, *static: (conv(x, layer, *static), (x, layer)), _conv_backward)


def _product(x, layer, strides, padding=None):
    kernel = layer.kernel
    if kernel.ndim == 3:
        return depthwise(x, kernel, strides, padding)
    seen = patches(x, kernel.shape[:2], strides, padding)
    return _sums(seen, kernel.reshape(-1, kernel.shape[-1]), layer.forward)


def _sums(x, kernel, split):
    """A matrix product of whole numbers, in multiples of 2^shift: [..., fan] -> [..., features]."""
    if split == Split():
        return product(x, kernel)
    fan, features = kernel.shape
    x = x.reshape(*x.shape[:-1], split.parts, fan // split.parts)
    kernel = kernel.reshape(split.parts, fan // split.parts, features)
    sums = jnp.einsum("...pc,pcf->p...f", x, kernel, precision=jax.lax.Precision.DEFAULT)
    return jnp.sum(jnp.round(sums * 2.0**-split.shift), axis=0)


def _bias(layer, step):
    return jnp.round(layer.bias * _power(-_exponent(step)))


@jax.custom_vjp
def scale(x: jax.Array, layer: Layer) -> jax.Array:
    """Multiplies each channel by a number and adds a bias: float32 [B, h, w, C], results as `conv`.

    Args:
      x: float32 [B, h, w, C].
      layer: from `make_layer`, with a kernel [C].
    """
    numbers, step = to_integers(x, layer.bits, layer.least)
    return jnp.round(numbers * layer.kernel + _bias(layer, step)) * (step * layer.units)


def _scale_backward(layer, g):
    numbers, step = to_integers(g * layer.units, layer.bits)
    return numbers * layer.kernel * step, None


scale.defvjp(lambda x, layer: (scale(x, layer), layer), _scale_backward)
