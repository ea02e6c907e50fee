"""Kernels as whole numbers of a byte, in units of a power of two for each output channel.

    kernel      int8 [..., features], -127 to 127
    exponents   int8 [features]: 2^exponent units are 1

and the weights are `kernel / 2^exponents`, exact in float32. A channel's unit is the smallest in
which its largest weight is at most 127, so that this one is 64 to 127. Rounding what is rounded
changes nothing more: files need not say which kernels are, and hold as int8 what loses nothing by
it (`pack`).
"""

from collections.abc import Mapping

import numpy as np

from raeg_jax.errors import UserError

KERNEL, EXPONENTS = "kernel", "exponents"
_LIMIT = 127
# Units of 2^-120 to 2^120 and all multiples of them are normal numbers of float32.
_MOST = 120


def to_int8(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounds a kernel, float32 [..., features], finite: int8 [..., features], int8 [features]."""
    mantissas, exponents = np.frexp(np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1))))
    exponents = np.clip(7 - exponents - (mantissas > _LIMIT / 128), -_MOST, _MOST)
    numbers = np.clip(np.rint(np.ldexp(kernel, exponents)), -_LIMIT, _LIMIT)
    return numbers.astype(np.int8), exponents.astype(np.int8)


def from_int8(
    layer: str, kernel: np.ndarray, exponents: np.ndarray, least: int = -_MOST, most: int = _MOST
) -> np.ndarray:
    """The reverse of `to_int8`, for what may be anything: float32 [..., features], zeros positive.

    Args:
      layer: name for messages.
      kernel: of a file.
      exponents: of a file.
      least: exponent that is possible.
      most: exponent that is possible.

    Raises:
      UserError: other types, other channels than exponents, or numbers out of range.
    """
    if kernel.dtype != np.int8 or exponents.dtype != np.int8:
        raise UserError(
            f"{layer} isn't a layer of whole numbers with exponents: use the version of raeg-jax "
            "that made it"
        )
    if kernel.shape[-1:] != exponents.shape:
        raise UserError(f"{layer} has other channels than exponents: take it from your copy")
    if not np.all((exponents >= least) & (exponents <= most)):
        raise UserError(f"{layer}/{EXPONENTS} aren't all {least} to {most}: take it from your copy")
    if np.any(kernel < -_LIMIT):
        raise UserError(f"{layer}/{KERNEL} isn't all -127 to 127: take it from your copy")
    return np.ldexp(kernel.astype(np.float32), -exponents.astype(np.int32))


def round_kernels(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rounds a network's kernels, so that `pack` makes int8 of them; the rest stays as it is.

    Args:
      arrays: float32, finite, by name: `.../LAYER/kernel` and others.
    """
    return {
        name: from_int8(name, *to_int8(array)) if _is_dense(name, array) else array
        for name, array in arrays.items()
    }


def pack(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Replaces kernels that lose nothing by it, not one bit, by int8 with exponents.

    Depthwise kernels stay: they are few, and a channel's nine numbers round badly.

    Args:
      arrays: float32 by name: `.../LAYER/kernel` and others.
    """
    packed = {}
    for name, array in arrays.items():
        packed[name] = array
        if _is_dense(name, array) and np.isfinite(array).all():
            numbers, exponents = to_int8(array)
            if from_int8(name, numbers, exponents).tobytes() == array.tobytes():
                packed[name] = numbers
                packed[f"{name.removesuffix(KERNEL)}{EXPONENTS}"] = exponents
    return packed


def unpack(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The reverse of `pack`, for what may be anything.

    Raises:
      UserError: int8 kernels without exponents or the reverse, or impossible numbers.
    """
    unpacked = {}
    for name, array in arrays.items():
        layer, _, part = name.rpartition("/")
        kernel, exponents = f"{layer}/{KERNEL}", f"{layer}/{EXPONENTS}"
        if part == EXPONENTS or (part == KERNEL and array.dtype == np.int8):
            # The pair is looked at once for each: a missing half must not go unnoticed.
            missing = np.zeros(0, np.float32)
            pair = arrays.get(kernel, missing), arrays.get(exponents, missing)
            unpacked[kernel] = from_int8(layer, *pair)
        elif name not in unpacked:
            unpacked[name] = array
    return unpacked


def _is_dense(name: str, array: np.ndarray) -> bool:
    """Whether this is the kernel of a dense layer or a convolution, but no depthwise one."""
    if name.rpartition("/")[2] != KERNEL or array.dtype != np.float32 or not array.size:
        return False
    return array.ndim == 2 or (array.ndim == 4 and array.shape[2] > 1)
