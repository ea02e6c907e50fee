"""Fixed point: convolutions whose every sum is exact, so that all machines agree on every bit.

Float32 holds all numbers. Activations are integer multiples of 2^-5, at most 127 times it; weights
are integers of at most 7 bits and a sign times a power of two, one power for each output channel.
Products and sums are then integer multiples of a smaller unit, and as long as they stay below 2^24
times it, float32 holds every partial sum exactly: in any order, fused or not, also where factors
are rounded to bfloat16 or TF32 first. Training uses the same rounding, with straight-through
gradients (Jacob et al., arXiv 1712.05877).

Convolutions are written as matrix products: a library's convolution may transform the data first
(Winograd, FFT), which makes sums inexact.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from raeg_jax.errors import UserError
from raeg_jax.image.quantise import straight_through

LIMIT = 127
_STEPS = 32  # of an activation in 1
# float32 holds all integers below this bound.
SUM_LIMIT = 2**24
_BIAS_LIMIT = 2**20
# Zeros before and after the rows, and the columns.
Padding = tuple[tuple[int, int], ...]
# Exact on any device, unlike exp2.
_POWERS = np.float32(2) ** np.arange(13)


@jax.jit
def snap(x: jax.Array) -> jax.Array:
    """Rounds to an activation: multiples of 1/32 within -127/32..127/32; no gradient outside."""
    snapped = jnp.clip(jnp.round(x * _STEPS), -LIMIT, LIMIT) / _STEPS
    return straight_through(snapped, jnp.clip(x, -LIMIT / _STEPS, LIMIT / _STEPS))


@jax.jit
def leaky(x: jax.Array) -> jax.Array:
    """Leaky ReLU of slope 1/4, from activations to activations."""
    return snap(jnp.where(x < 0, x / 4, x))


def weight_limit(fan_in: int) -> int:
    """Largest weight, in its unit, with which no sum over `fan_in` products reaches 2^24."""
    limit = min(LIMIT, (SUM_LIMIT - _BIAS_LIMIT - 1) // (LIMIT * fan_in))
    # Odd: rounded weights, rounded again, get the same unit.
    return max(limit - 1 | 1, 1)


def snap_weights(kernel: jax.Array, bias: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Rounds a layer's weights to fixed point; rounding twice changes nothing more.

    Args:
      kernel: float32 [..., features].
      bias: float32 [features].

    Returns:
      Rounded kernel and bias, and for each of the kernel's channels the number of units in 1,
      float32 [features]; bias and sums are multiples of 1/32 of a unit.
    """
    whole, whole_bias, units = _to_integers(jnp, kernel, bias, jax.lax.stop_gradient(kernel))
    return (
        straight_through(whole / units, kernel),
        straight_through(whole_bias / (units * _STEPS), bias),
        units,
    )


def integer_weights(
    kernel: jax.typing.ArrayLike, bias: jax.typing.ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `snap_weights`, in NumPy: kernel, bias and units as integers in float32."""
    kernel, bias = np.asarray(kernel, np.float32), np.asarray(bias, np.float32)
    return _to_integers(np, kernel, bias, kernel)


def _to_integers(xp, kernel, bias, peaks):
    limit = weight_limit(kernel.size // kernel.shape[-1])
    peak = xp.max(xp.abs(peaks), axis=tuple(range(kernel.ndim - 1)))
    # The finest unit with which the largest weight is within the limit.
    fits = xp.sum(peak * _POWERS[1:, None] <= limit, axis=0)
    units = xp.asarray(_POWERS)[fits]
    whole = xp.clip(xp.round(kernel * units), -limit, limit)
    whole_bias = xp.clip(xp.round(bias * (units * _STEPS)), -_BIAS_LIMIT, _BIAS_LIMIT)
    return whole, whole_bias, units


class FixedConv(nn.Module):
    """A convolution in fixed point, padded with zeros by half its kernel size.

    Attributes:
      features: channels of the output.
      kernel_size: rows and columns, odd.
      strides: of both axes.
      kernel_init: initialiser.
      snapped: rounds the sums to activations; a last layer returns the exact sums.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: int = 1
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    snapped: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Activations float32 [B, h, w, C] -> [B, ceil(h / s), ceil(w / s), features]."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return _convolve(x, kernel, bias, self.strides, self.snapped)


# Jitted so that each of the few shapes of a generator's hundreds of convolutions is traced once.
@functools.partial(jax.jit, static_argnums=(3, 4))
def _convolve(x, kernel, bias, strides, snapped):
    kernel, bias, _ = snap_weights(kernel, bias)
    size, features = kernel.shape[:2], kernel.shape[-1]
    y = product(patches(x, size, strides), kernel.reshape(-1, features)) + bias
    return snap(y) if snapped else y


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A matrix product with sums in float32, whatever `jax_default_matmul_precision` is.

    The factors fit bfloat16; sums of lower precision, which that option can choose, would not be
    exact.
    """
    return jnp.matmul(x, kernel, precision=jax.lax.Precision.DEFAULT)


def patches(
    x: jax.Array, size: tuple[int, int], strides: int, padding: Padding | None = None
) -> jax.Array:
    """The inputs of each output of a zero-padded convolution.

    Args:
      x: [B, h, w, C].
      size: rows and columns of the kernel.
      strides: of both axes.
      padding: of rows and columns; None for half the size, rounded down.

    Returns:
      [B, h', w', rows * columns * C].
    """
    if padding is None:
        padding = tuple((side // 2, side // 2) for side in size)
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = (1 + padded.shape[i + 1] - side for i, side in enumerate(size))
    shifted = [
        padded[:, i : i + height : strides, j : j + width : strides]
        for i in range(size[0])
        for j in range(size[1])
    ]
    return jnp.concatenate(shifted, axis=-1)


def largest_sum(kernel: jax.typing.ArrayLike, bias: jax.typing.ArrayLike) -> int:
    """The largest sum that a layer can produce from activations, in its unit: exact below 2^24.

    Args:
      kernel: float32 [..., features], rounded or not.
      bias: float32 [features].
    """
    kernel, bias, _ = (x.astype(np.float64) for x in integer_weights(kernel, bias))
    weights = np.abs(kernel).reshape(-1, kernel.shape[-1]).sum(axis=0)
    return int(np.max(weights * LIMIT + np.abs(bias)))


def check_sums(params: Any) -> None:
    """Checks that every layer's sums are exact.

    Args:
      params: parameter tree of networks whose only layers are `FixedConv`.

    Raises:
      UserError: a layer has weights that are not finite, or sums that are too large to be exact.
    """
    layers = flatten_dict(params)
    for path, kernel in layers.items():
        if path[-1] != "kernel":
            continue
        bias = layers[*path[:-1], "bias"]
        finite = np.isfinite(kernel).all() and np.isfinite(bias).all()
        if not finite or largest_sum(kernel, bias) >= SUM_LIMIT:
            raise UserError(
                f"the weights of {'/'.join(path[:-1])} can't be used: "
                + ("sums of them reach 2^24" if finite else "some are not finite")
                + ", so recovery would not be exact; take another checkpoint"
            )
