"""Convolutions that are fast on CPU, forwards and backwards, also inside loops.

XLA's CPU backend has a fast kernel for convolutions whose arrays are [batch, rows, columns, in] and
[rows, columns, in, out]. It transposes other layouts to this one, but only in the outermost
computation of a program: in the body of a loop or the branch of a condition they run up to 28 times
slower (https://github.com/jax-ml/jax/issues/12868). JAX's gradient in the image is such a layout,
as it exchanges `in` and `out` by name only. Here the kernel is transposed, and the sums are equal.

Depthwise convolutions have no fast kernel there at all; as sums of shifted products they take a
quarter of the time (EfficientNet-Lite0, one image of 224 pixels, two cores: 0.15 s -> 0.035 s
forwards, 0.56 s -> 0.11 s with the gradient).
"""

import functools
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def conv_general_dilated(
    x: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **options: Any
) -> jax.Array:
    """`jax.lax.conv_general_dilated` for images; the argument of that name of `flax.linen.Conv`.

    Args:
      x: float32 [B, H, W, C].
      kernel: float32 [rows, columns, C, features].
      strides: of both axes, static.
      padding: of both axes, static.
      **options: of `jax.lax.conv_general_dilated`, static.

    Returns:
      float32 [B, H', W', features].
    """
    del options["dimension_numbers"]  # Flax gives those of x and kernel
    dilations = (options.get(f"{side}_dilation") or (1, 1) for side in ("lhs", "rhs"))
    is_plain = strides[0] == strides[1] and all(d == 1 for each in dilations for d in each)
    if is_plain and 1 < options.get("feature_group_count", 1) == x.shape[-1] == kernel.shape[-1]:
        return depthwise(x, kernel[:, :, 0], strides[0], padding)
    return _convolve(x, kernel, (strides, padding, *options.items()))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise(
    x: jax.Array, kernel: jax.Array, stride: int, padding: str | Sequence[tuple[int, int]]
) -> jax.Array:
    """A convolution of each channel by itself, as a sum of shifted products.

    Args:
      x: float32 [B, H, W, C].
      kernel: float32 [rows, columns, C].
      stride: of both axes.
      padding: with zeros; 'SAME', 'VALID', or what is added before and after each axis.

    Returns:
      float32 [B, H', W', C].
    """
    padding = _padding(x.shape, kernel.shape, stride, padding)
    return _shifted_products(jnp.pad(x, ((0, 0), *padding, (0, 0))), kernel, stride)


def depthwise_gradient(
    gradient: jax.Array,
    kernel: jax.Array,
    stride: int,
    padding: str | Sequence[tuple[int, int]],
    shape: tuple[int, ...],
) -> jax.Array:
    """The gradient of `depthwise` in x.

    A depthwise convolution as well: JAX's own adds up an array for each weight of the kernel.

    Args:
      gradient: in the result, float32 [B, H', W', C].
      kernel: of `depthwise`.
      stride: of `depthwise`.
      padding: of `depthwise`.
      shape: of x.

    Returns:
      float32 [B, H, W, C].
    """
    borders = []
    for axis, (before, _) in enumerate(_padding(shape, kernel.shape, stride, padding), start=1):
        reach = kernel.shape[axis - 1] - 1
        length = (gradient.shape[axis] - 1) * stride + 1
        first = reach - before
        borders.append((first, shape[axis] + reach - length - first, stride - 1))
    spread = jax.lax.pad(gradient, np.float32(0), ((0, 0, 0), *borders, (0, 0, 0)))
    return _shifted_products(spread, kernel[::-1, ::-1], 1)


def _padding(
    shape: Sequence[int], size: Sequence[int], stride: int, padding: Any
) -> Sequence[tuple[int, int]]:
    if isinstance(padding, str):
        return jax.lax.padtype_to_pads(shape[1:3], size[:2], (stride, stride), padding)
    return padding


def _shifted_products(x, kernel, stride):
    size = kernel.shape[:2]
    rows, columns = (1 + (x.shape[i + 1] - size[i]) // stride for i in (0, 1))
    spans = [slice(0, 1 + (count - 1) * stride, stride) for count in (rows, columns)]
    shifted = [
        kernel[i, j] * x[:, i:, j:][:, spans[0], spans[1]]
        for i in range(size[0])
        for j in range(size[1])
    ]
    return functools.reduce(operator.add, shifted)


def _depthwise_backward(stride, padding, saved, gradient):
    x, kernel = saved
    padding = _padding(x.shape, kernel.shape, stride, padding)
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    of_kernel = jax.linear_transpose(lambda k: _shifted_products(padded, k, stride), kernel)
    of_x = depthwise_gradient(gradient, kernel, stride, padding, x.shape)
    return of_x, *of_kernel(gradient)


depthwise.defvjp(lambda *args: (depthwise(*args), args[:2]), _depthwise_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x, kernel, settings):
    return _apply(x, kernel, settings)


def _backward(settings, saved, gradient):
    x, kernel = saved
    # A transposed convolution exchanges I and O: what is HWOI here becomes HWIO.
    swapped = jnp.swapaxes(kernel, 2, 3)
    of_x = jax.linear_transpose(lambda x: _apply(x, swapped, settings, "HWOI"), x)
    of_kernel = jax.linear_transpose(lambda kernel: _apply(x, kernel, settings), kernel)
    return *of_x(gradient), *of_kernel(gradient)


_convolve.defvjp(lambda *args: (_apply(*args), args[:2]), _backward)


def _apply(x, kernel, settings, order="HWIO"):
    strides, padding, *options = settings
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=("NHWC", order, "NHWC"), **dict(options)
    )
