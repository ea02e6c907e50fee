"""Fixed point: convolutions whose every sum is exact, so that all machines agree on every bit.

Numbers are held in float32. Activations are whole numbers of units of 2^-5, at most 127 of them;
weights are whole numbers of at most 7 bits and a sign times a power of two, another one for each
output channel. Products and sums then are whole numbers of a smaller unit, and as long as they
stay below 2^24 of it, float32 holds every partial sum exactly: in any order, fused or not, also
where factors are rounded to bfloat16 or TF32 first. Training sees the same rounding, with
straight-through gradients (Jacob et al., arXiv 1712.05877).

Convolutions are written as matrix products: a library's own might transform the data first
(Winograd, FFT), and then sums aren't exact.
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
_STEPS = 32  # of an activation, in 1
# Sums that float32 counts one by one.
SUM_LIMIT = 2**24
_BIAS_LIMIT = 2**20
# Exact on any device, unlike exp2.
_POWERS = np.float32(2) ** np.arange(13)


@jax.jit
def snap(x: jax.Array) -> jax.Array:
    """Rounds to an activation: whole 1/32, within -127/32..127/32; no gradient outside."""
    snapped = jnp.clip(jnp.round(x * _STEPS), -LIMIT, LIMIT) / _STEPS
    return straight_through(snapped, jnp.clip(x, -LIMIT / _STEPS, LIMIT / _STEPS))


@jax.jit
def leaky(x: jax.Array) -> jax.Array:
    """Leaky ReLU of slope 1/4, from activations to activations."""
    return snap(jnp.where(x < 0, x / 4, x))


def weight_limit(fan_in: int) -> int:
    """Largest weight, in its unit, with which no sum over `fan_in` products can be too large."""
    limit = min(LIMIT, (SUM_LIMIT - _BIAS_LIMIT - 1) // (LIMIT * fan_in))
    # Odd: rounded weights, rounded again, get the same unit.
    return max(limit - 1 | 1, 1)


def snap_weights(kernel: jax.Array, bias: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Rounds a layer's weights to fixed point; rounding twice changes nothing more.

    Args:
      kernel: float32 [..., features].
      bias: float32 [features].

    Returns:
      Kernel and bias on their grids, and the units that one of the kernel's channels has in 1,
      float32 [features]; bias and sums count in 1/32 of it.
    """
    whole, whole_bias, units = _whole(jnp, kernel, bias, jax.lax.stop_gradient(kernel))
    return (
        straight_through(whole / units, kernel),
        straight_through(whole_bias / (units * _STEPS), bias),
        units,
    )


def whole_weights(kernel: Any, bias: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `snap_weights`, in NumPy: kernel, bias and units as whole numbers in float32."""
    kernel, bias = np.asarray(kernel, np.float32), np.asarray(bias, np.float32)
    return _whole(np, kernel, bias, kernel)


def _whole(xp, kernel, bias, peaks):
    limit = weight_limit(kernel.size // kernel.shape[-1])
    peak = xp.max(xp.abs(peaks), axis=tuple(range(kernel.ndim - 1)))
    # The finest unit with which the largest weight is within the limit.
    fits = xp.sum(peak * _POWERS[1:, None] <= limit, axis=0)
    units = xp.asarray(_POWERS)[fits]
    whole = xp.clip(xp.round(kernel * units), -limit, limit)
    whole_bias = xp.clip(xp.round(bias * (units * _STEPS)), -_BIAS_LIMIT, _BIAS_LIMIT)
    return whole, whole_bias, units


class FixedConv(nn.Module):
    """A convolution in fixed point, padded with zeros by half its size.

    Attributes:
      features: channels of the output.
      kernel_size: rows and columns, odd.
      strides: of both axes.
      kernel_init: initialiser.
      snapped: gives activations; else the exact sums, for a last layer.
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


# A generator has hundreds of convolutions of few shapes: each shape is traced once.
@functools.partial(jax.jit, static_argnums=(3, 4))
def _convolve(x, kernel, bias, strides, snapped):
    kernel, bias, _ = snap_weights(kernel, bias)
    size, features = kernel.shape[:2], kernel.shape[-1]
    y = product(patches(x, size, strides), kernel.reshape(-1, features)) + bias
    return snap(y) if snapped else y


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A matrix product whose sums float32 counts, whatever `jax_default_matmul_precision` is.

    Factors may be rounded to bfloat16, which has room for them; sums in less than float32, as the
    configuration may ask for, would not be exact.
    """
    return jnp.matmul(x, kernel, precision=jax.lax.Precision.DEFAULT)


def patches(x: jax.Array, size: tuple[int, int], strides: int) -> jax.Array:
    """What each output of a convolution sees, zeros around: [B, h', w', rows * columns * C]."""
    (rows, columns), (height, width) = size, x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (rows // 2, rows // 2), (columns // 2, columns // 2), (0, 0)))
    shifted = [
        padded[:, i : i + height : strides, j : j + width : strides]
        for i in range(rows)
        for j in range(columns)
    ]
    return jnp.concatenate(shifted, axis=-1)


def largest_sum(kernel: Any, bias: Any) -> int:
    """The largest sum that a layer can make of activations, in its unit: exact below 2^24.

    Args:
      kernel: float32 [..., features], on its grid or not yet.
      bias: float32 [features].
    """
    kernel, bias, _ = (x.astype(np.float64) for x in whole_weights(kernel, bias))
    weights = np.abs(kernel).reshape(-1, kernel.shape[-1]).sum(axis=0)
    return int(np.max(weights * LIMIT + np.abs(bias)))


def check_sums(params: Any) -> None:
    """Makes sure that every layer's sums are exact.

    Args:
      params: of networks made of `FixedConv` alone, a tree.

    Raises:
      UserError: the weights of a layer are so large, or not finite, that its sums aren't.
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
