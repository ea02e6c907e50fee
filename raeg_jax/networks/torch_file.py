"""State dicts in files: safetensors directly, PyTorch's own through PyTorch, without running code.

`import_weights` makes a file of published weights of them.
"""

import os
import pathlib
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors

from raeg_jax.errors import UserError
from raeg_jax.files import printable, sha256
from raeg_jax.networks import torch_weights
from raeg_jax.networks.int8 import round_kernels
from raeg_jax.networks.preprocessing import Preprocessing, published_preprocessing
from raeg_jax.networks.weights import SUFFIX, PublishedNetwork, save_weights

# PyTorch's, written by `torch.save`.
_TORCH_SUFFIXES = (".pth", ".pt", ".bin")
# Where training programs put a state dict among other things.
_WRAPPERS = ("state_dict", "model")


def import_weights(
    architecture: str,
    path: str | os.PathLike,
    out: str | os.PathLike,
    preprocess: str = "",
    int8: bool = False,
) -> PublishedNetwork:
    """Makes a file of published weights of a state dict.

    Args:
      architecture: of `preprocessing.PUBLISHED`.
      path: of a state dict of torchvision or timm.
      out: the new file, NAME.safetensors.
      preprocess: what the weights expect of images, as `Preprocessing.parse` reads it; what it
        leaves out is as published for the architecture.
      int8: round the kernels, so that the file takes a byte for each of their weights.

    Raises:
      UserError: an unknown architecture, a file that can't be read or that isn't one of it, or a
        new file that exists, or can't be written.
    """
    source, out = pathlib.Path(path), pathlib.Path(out)
    preprocessing = Preprocessing.parse(preprocess, published_preprocessing(architecture))
    if out.suffix != SUFFIX:
        raise UserError(f"{out} must be called NAME{SUFFIX}, as all files of weights are")
    if out.exists():
        raise UserError(f"{out} exists: choose another name")
    state, name = read_state(source), printable(source.name)
    network = PublishedNetwork(
        architecture,
        torch_weights.num_classes(state, architecture, name),
        preprocessing,
        f"{name} ({sha256(source)})" + (", rounded to int8" if int8 else ""),
    )
    arrays = torch_weights.convert(state, network.module, architecture, name)
    save_weights(out, network, round_kernels(arrays) if int8 else arrays)
    return network


def read_state(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads a state dict: tensors by PyTorch's names.

    Raises:
      UserError: no such file, one of another kind, one that holds more than weights, or one for
        which PyTorch isn't installed.
    """
    if not path.is_file():
        raise UserError(f"{path} is a folder" if path.is_dir() else f"there is no file {path}")
    if path.suffix == SUFFIX:
        return _read_safetensors(path)
    if path.suffix in _TORCH_SUFFIXES:
        return _read_torch(path)
    raise UserError(
        f"{path} can't be read: weights are in files {', '.join((SUFFIX, *_TORCH_SUFFIXES))}"
    )


def _read_safetensors(path):
    try:
        with safetensors.safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror or error}") from error
    except (safetensors.SafetensorError, AttributeError, TypeError) as error:
        # The last two: of numbers that NumPy doesn't have, such as float8.
        raise UserError(
            f"{path} is no safetensors file, or a damaged one, or has numbers of another kind than "
            f"float16, bfloat16, float32 and float64 ({error})"
        ) from error


def _read_torch(path):
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{path.name} can only be read with PyTorch: pip install 'raeg-jax[torch]', or get the "
            f"weights as a {SUFFIX} file"
        ) from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds more than weights, or is damaged, and is not read, as its code would "
            "run: save `model.state_dict()` alone"
        ) from error
    except Exception as error:
        # Damaged files end in errors of many kinds.
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{path} is no file of PyTorch, or a damaged one ({reason})") from error
    return {name: _to_numpy(torch, name, x, path) for name, x in _unwrap(content, path).items()}


def _unwrap(content: Any, path: pathlib.Path) -> Mapping[str, Any]:
    for name in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            return content[name]
    if not isinstance(content, Mapping):
        raise UserError(
            f"{path} holds a {type(content).__name__}, not a state dict: save "
            "`model.state_dict()` alone"
        )
    return content


def _to_numpy(torch, name, tensor, path):
    if not isinstance(tensor, torch.Tensor):
        raise UserError(
            f"{path} is no state dict: its {name!r} is a {type(tensor).__name__}, not a tensor"
        )
    if tensor.layout != torch.strided or not isinstance(name, str):
        raise UserError(f"{path} can't be read: its {name!r} is no dense tensor with a name")
    # NumPy has no bfloat16.
    return (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
