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
from typing import Any

import jax
import jax.numpy as jnp

# Zeros before and after rows, and before and after columns.
Padding = tuple[tuple[int, int], tuple[int, int]]


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
        if isinstance(padding, str):
            padding = jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
        return depthwise(x, kernel[:, :, 0], strides[0], tuple(map(tuple, padding)))
    return _convolve(x, kernel, (strides, padding, *options.items()))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """A convolution of each channel by itself, as a sum of shifted products.

    Args:
      x: float32 [B, H, W, C].
      kernel: float32 [rows, columns, C].
      stride: of both axes.
      padding: zeros before and after rows, and before and after columns.

    Returns:
      float32 [B, H', W', C].
    """
    return _shifted_sum(x, kernel, stride, padding)


def _shifted_sum(x, kernel, stride, padding):
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    counts = (1 + (x.shape[i + 1] - kernel.shape[i]) // stride for i in (0, 1))
    spans = [slice(0, 1 + (count - 1) * stride, stride) for count in counts]
    shifted = [
        kernel[i, j] * x[:, i:, j:][:, spans[0], spans[1]]
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    ]
    return functools.reduce(operator.add, shifted)


def depthwise_transpose(
    y: jax.Array, kernel: jax.Array, stride: int, padding: Padding, size: tuple[int, int]
) -> jax.Array:
    """The transpose of `depthwise` in x: again a sum of shifted products, of which XLA makes less.

    Args:
      y: float32 [B, H', W', C].
      kernel: as of `depthwise`, like the next two.
      stride: see there.
      padding: see there.
      size: H and W.

    Returns:
      float32 [B, H, W, C].
    """
    pads = []
    for axis, (before, _) in enumerate(padding):
        side, span = kernel.shape[axis], (y.shape[axis + 1] - 1) * stride + 1
        low = side - 1 - before
        pads.append((low, size[axis] + side - 1 - low - span, stride - 1))
    y = jax.lax.pad(y, jnp.zeros((), y.dtype), ((0, 0, 0), *pads, (0, 0, 0)))
    return _shifted_sum(y, kernel[::-1, ::-1], 1, ((0, 0), (0, 0)))


def _depthwise_backward(stride, padding, saved, gradient):
    x, kernel = saved
    of_kernel = jax.linear_transpose(lambda k: _shifted_sum(x, k, stride, padding), kernel)
    of_x = depthwise_transpose(gradient, kernel, stride, padding, x.shape[1:3])
    return of_x, *of_kernel(gradient)


depthwise.defvjp(lambda *args: (_shifted_sum(*args), args[:2]), _depthwise_backward)


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
