"""One file that holds named arrays and a description of them, and can be opened whoever made it.

It is a safetensors file (github.com/huggingface/safetensors): the length of a JSON header, the
header with names, shapes and places, then the bytes of the arrays. Nothing in it can run, and it
takes no more memory than its size. The description and a SHA-256 of everything are in the header's
metadata.
"""

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

FORMAT = 1
# Of the arrays: as the file calls them, and NumPy.
TYPES = {"F32": "float32", "I8": "int8", "I32": "int32"}
# What reading values that may be anything can end in.
MALFORMED = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)

_FIELD = "raeg_generator"
_START = f'{{"__metadata__":{{"{_FIELD}":'.encode()
# Many times what any generator has, and little enough to be looked at.
_MAX_FILE, _MAX_HEADER, _MAX_ARRAYS = 2**32, 2**22, 10_000


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
      arrays: of `TYPES`, by name.
      overwrite: replace a file that is there.

    Raises:
      UserError: the file exists, or can't be written.
    """
    if other := [name for name, array in arrays.items() if array.dtype.name not in TYPES.values()]:
        raise ValueError(
            f"{other[0]} is {arrays[other[0]].dtype}, none of {', '.join(TYPES.values())}"
        )
    arrays = {name: _little(array) for name, array in arrays.items()}
    described = {"format": FORMAT, **description}
    described["sha256"] = digest(described, arrays).hex()
    # The order of several fields would not always be the same.
    content = safetensors.numpy.save(arrays, {_FIELD: _canonical(described).decode()})
    try:
        if overwrite:
            write_whole(path, content)
        else:
            write_new(path, content)
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
    path = pathlib.Path(path)
    try:
        check_start(path)
        with safetensors.safe_open(path, "numpy") as file:
            described = json.loads(file.metadata()[_FIELD])
            version = described["format"]
            if isinstance(version, int) and version > FORMAT:
                raise UserError(
                    f"{path} has format {version}, and this version of raeg-jax reads up to "
                    f"{FORMAT}: update raeg-jax"
                )
            arrays = _load(file)
        checksum = described.pop("sha256")
        if version != FORMAT or digest(described, arrays).hex() != checksum:
            raise ValueError("checksum")
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror or error}") from error
    except UserError:
        raise
    except (safetensors.SafetensorError, *MALFORMED) as error:
        raise UserError(f"{path} is damaged or cut off: take it from your copy") from error
    del described["format"]
    return described, arrays


def digest(description: Any, arrays: Mapping[str, np.ndarray]) -> bytes:
    """SHA-256 of a description and of arrays in the order of their names: 32 bytes.

    Hashed are the description as JSON (keys sorted, no spaces) and a line feed; then of each array
    `["name",[shape]]`, with `"int8"` or `"int32"` as third where it isn't float32, a line feed, and
    its values in C order, low byte first.

    Args:
      description: as JSON holds it.
      arrays: of `TYPES`, by name.
    """
    hashed = hashlib.sha256(_canonical(description) + b"\n")
    for name in sorted(arrays):
        array = arrays[name]
        kind = [] if array.dtype.name == "float32" else [array.dtype.name]
        hashed.update(_canonical([name, list(array.shape), *kind]) + b"\n")
        hashed.update(_little(array).reshape(-1).view(np.uint8))
    return hashed.digest()


def _little(array):
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


def _canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


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
            f"there is no generator file {path}: `raeg export WORKDIR FILE` makes one of a run"
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


def _load(file):
    names = list(file.keys())
    if len(names) > _MAX_ARRAYS:
        raise ValueError(f"{len(names)} arrays")
    if any(file.get_slice(name).get_dtype() not in TYPES for name in names):
        raise ValueError("another type of numbers")
    return {name: file.get_tensor(name) for name in names}
