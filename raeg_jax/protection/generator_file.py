"""The generator file: named arrays and a description of them, safe to open whoever made it.

It is a safetensors file (github.com/huggingface/safetensors): the length of a JSON header, the
header with names, shapes and offsets, then the bytes of the arrays. Nothing in it can run, and it
takes no more memory than its size. The description and a SHA-256 of everything are in the header's
metadata. `docs/generator_file.md` has the whole format.

The weights of fixed-point layers are whole numbers, and the file holds them as such, a byte each.
`fixed_point.snap_weights` rounds a layer's kernel to whole numbers of at most 7 bits, in units of
a power of two for each output channel, and its bias to 1/32 of these units. So a layer is

    kernel      int8 [..., features]
    bias        int32 [features]
    exponents   int8 [features]: 2^exponent units are 1

and its weights are `kernel / 2^exponents` and `bias / (32 * 2^exponents)`, exact in float32.
Kernels of published classifiers may be whole numbers, too: `networks.int8` has their format.
"""

import collections
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from raeg_jax.errors import UserError
from raeg_jax.files import RefusedFileError, open_file, write_new, write_whole
from raeg_jax.networks import int8
from raeg_jax.networks.int8 import EXPONENTS, KERNEL
from raeg_jax.protection import shipped

FORMAT = 1
# What reading values that may be anything can end in.
MALFORMED = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)

# Of the arrays: as the file calls them, and NumPy.
_TYPES = {"F32": "float32", "I8": "int8", "I32": "int32"}
_FIELD = "raeg_generator"
_START = f'{{"__metadata__":{{"{_FIELD}":'.encode()
# Many times what any generator has, and little enough to be looked at.
_MAX_FILE, _MAX_HEADER, _MAX_ARRAYS = 2**32, 2**22, 10_000

_BIAS = "bias"
_PARTS = {KERNEL: np.int8, _BIAS: np.int32, EXPONENTS: np.int8}
_MAX_EXPONENT = 12
# Biases count in 1/2^5 of the weights' unit.
_BIAS_BITS = 5


def write(
    path: str | os.PathLike,
    description: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    overwrite: bool = False,
) -> None:
    """Writes the file, whole at any time; the same content gives the same bytes.

    Args:
      path: of the file; its folder must exist.
      description: as JSON holds it.
      arrays: float32, int8 or int32, by name.
      overwrite: replace a file that is there.

    Raises:
      UserError: the file exists, or can't be written.
    """
    for name, array in arrays.items():
        if array.dtype.name not in _TYPES.values():
            raise ValueError(f"{name} is {array.dtype}, none of {', '.join(_TYPES.values())}")
    arrays = {name: _little_endian(array) for name, array in arrays.items()}
    described = {"format": FORMAT, **description}
    described["sha256"] = digest(described, arrays).hex()
    # One field: the order of several would not always be the same.
    content = safetensors.numpy.save(arrays, {_FIELD: _canonical(described).decode()})
    try:
        (write_whole if overwrite else write_new)(path, content)
    except FileExistsError:
        raise UserError(
            f"{path} exists, and images that a generator protected need it: choose another name"
        ) from None
    except OSError as error:
        raise UserError(f"can't write {path}: {error.strerror or error}") from error


def read(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads what `write` wrote: the description and the arrays.

    Raises:
      UserError: no such file, a folder, another kind of file, a damaged one, or one of a later
        version.
    """
    try:
        check_start(path)
        with safetensors.safe_open(path, "numpy") as file:
            described = json.loads(file.metadata()[_FIELD])
            version = described.pop("format")
            if isinstance(version, int) and version > FORMAT:
                raise UserError(
                    f"{path} has format {version}, and this version of raeg-jax reads up to "
                    f"{FORMAT}: update raeg-jax"
                )
            names = list(file.keys())
            if len(names) > _MAX_ARRAYS:
                raise ValueError(f"{len(names)} arrays")
            if any(file.get_slice(name).get_dtype() not in _TYPES for name in names):
                raise ValueError("another type of numbers")
            arrays = {name: file.get_tensor(name) for name in names}
        checksum = described.pop("sha256")
        if version != FORMAT or digest({"format": FORMAT, **described}, arrays).hex() != checksum:
            raise ValueError("checksum")
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror or error}") from error
    except UserError:
        raise
    except (safetensors.SafetensorError, *MALFORMED) as error:
        raise UserError(f"{path} is damaged or cut off: take it from your copy") from error
    return described, arrays


def check_start(path: str | os.PathLike) -> None:
    """Looks whether a file may be one that `write` wrote, without loading it.

    Raises:
      UserError: no such file, a folder, another kind of file, or too large a one.
      OSError: it can't be read.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise UserError(
            f"{path} is a folder, not a generator file: `raeg export {path} FILE` makes one of a "
            "run's workdir"
        )
    if not path.exists():
        raise UserError(
            f"there is no generator file {path}: `raeg export WORKDIR FILE` makes one of a run, "
            f"and raeg-jax comes with {shipped.names()}"
        )
    try:
        with open_file(path) as file:
            start = file.read(8 + len(_START))
    except RefusedFileError as error:
        raise UserError(f"{path} {error}, so it is no generator file: name one") from None
    if start[8:] != _START:
        raise UserError(
            f"{path} is no generator file: give one that `raeg export WORKDIR FILE` made"
        )
    if path.stat().st_size > _MAX_FILE or int.from_bytes(start[:8], "little") > _MAX_HEADER:
        raise UserError(f"{path} is larger than any generator: take it from your copy")


def digest(description: Any, arrays: Mapping[str, np.ndarray]) -> bytes:
    """SHA-256 of a description and of arrays in the order of their names: 32 bytes.

    Hashed are the description as JSON (keys sorted, no spaces) and a line feed; then of each array
    `["name",[shape]]`, with `"int8"` or `"int32"` as third where it isn't float32, a line feed, and
    its values in C order, low byte first.

    Args:
      description: as JSON holds it.
      arrays: float32, int8 or int32, by name.
    """
    hashed = hashlib.sha256(_canonical(description) + b"\n")
    for name in sorted(arrays):
        array = arrays[name]
        kind = [] if array.dtype.name == "float32" else [array.dtype.name]
        hashed.update(_canonical([name, list(array.shape), *kind]) + b"\n")
        hashed.update(_little_endian(array).reshape(-1).view(np.uint8).data)
    return hashed.digest()


def _little_endian(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def to_int8(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rounds fixed-point layers to whole numbers; what is on its grid is only written otherwise.

    Args:
      arrays: float32, finite, by name: `LAYER/kernel` and `LAYER/bias`.

    Returns:
      `LAYER/kernel`, `LAYER/bias` and `LAYER/exponents`.
    """
    # Only who has weights has JAX loaded; the rest of this module does without.
    from raeg_jax.exact.fixed_point import integer_weights

    for name, array in arrays.items():
        if array.dtype != np.float32:
            raise ValueError(f"{name} is {array.dtype}, not float32")
    whole = {}
    for layer in sorted({name.rpartition("/")[0] for name in arrays}):
        weights = (arrays[f"{layer}/{name}"] for name in (KERNEL, _BIAS))
        kernel, bias, units = integer_weights(*weights)
        parts = kernel, bias, np.frexp(units)[1] - 1
        for (part, dtype), values in zip(_PARTS.items(), parts, strict=True):
            whole[f"{layer}/{part}"] = values.astype(dtype)
    return whole


def from_int8(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The reverse of `to_int8`, for what may be anything; zeros are positive.

    Raises:
      UserError: these are no layers, or an exponent is out of range.
    """
    layers: dict[str, dict[str, np.ndarray]] = collections.defaultdict(dict)
    for name, array in arrays.items():
        layer, _, part = name.rpartition("/")
        layers[layer][part] = array
    weights = {}
    for layer, parts in layers.items():
        if {name: part.dtype.type for name, part in parts.items()} != _PARTS:
            raise UserError(
                f"{layer} isn't a layer of whole numbers with exponents: use the version of "
                "raeg-jax that exported it"
            )
        kernel, bias, exponents = (parts[name] for name in _PARTS)
        if bias.shape != exponents.shape:
            raise UserError(f"{layer} has other channels than exponents: take it from your copy")
        weights[f"{layer}/{KERNEL}"] = int8.from_int8(layer, kernel, exponents, 0, _MAX_EXPONENT)
        units = -exponents.astype(np.int32) - _BIAS_BITS
        weights[f"{layer}/{_BIAS}"] = np.ldexp(bias.astype(np.float32), units)
    return weights
