"""A convolution whose gradient is also fast inside loops on CPU.

XLA's CPU backend has a fast kernel for convolutions whose arrays are [batch, rows, columns, in] and
[rows, columns, in, out]. It transposes other layouts to this one, but only in the outermost
computation of a program: in the body of a loop or the branch of a condition they run up to 28 times
slower (https://github.com/jax-ml/jax/issues/12868). JAX's gradient in the image is such a layout,
as it exchanges `in` and `out` by name only. Here the kernel is transposed, and the sums are equal.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp


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
    return _convolve(x, kernel, (strides, padding, *options.items()))


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
