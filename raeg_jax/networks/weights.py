"""Files of published weights: a network's arrays by our names, and what they expect of images.

`raeg weights import` makes them of torchvision's and timm's (`torch_weights`). Such a file is a
safetensors file, in which nothing can run; its metadata name the architecture, the preprocessing
and the file that the weights come from. Kernels on the grid of `int8` take a byte a weight.
"""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from raeg_jax.errors import UserError
from raeg_jax.files import write_new
from raeg_jax.networks.classifiers import build_classifier
from raeg_jax.networks.int8 import pack, unpack
from raeg_jax.networks.layers import variable_shapes
from raeg_jax.networks.preprocessing import Preprocessing, published_preprocessing

SUFFIX = ".safetensors"
_FIELD = "raeg_weights"
_FORMAT = 1


def is_published(name: str) -> bool:
    """Whether a classifier of `config.classifiers` is a file of published weights."""
    return name.endswith(SUFFIX)


def array_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of a network by name: `params/...` and `batch_stats/...`."""
    shapes = variable_shapes(module, train=False)
    return {name: x.shape for name, x in flatten_dict(shapes, sep="/").items()}


@dataclasses.dataclass(frozen=True)
class PublishedNetwork:
    """What a file of published weights says of itself.

    Attributes:
      architecture: of `preprocessing.PUBLISHED`.
      num_classes: K.
      preprocessing: what the weights expect of a photograph.
      source: name and SHA-256 of the file that they come from, such as 'resnet18.pth (5c1...)'.
    """

    architecture: str
    num_classes: int
    preprocessing: Preprocessing
    source: str

    @functools.cached_property
    def module(self) -> nn.Module:
        """The network."""
        published_preprocessing(self.architecture)  # it is one of them
        return build_classifier(self.architecture, self.num_classes, self.preprocessing)

    def with_head(self, num_classes: int, side: int) -> "PublishedNetwork":
        """The same network, its last layer replaced by a classifier of a run's classes, the head.

        Args:
          num_classes: K of the run.
          side: that the run's images are enlarged to, in pixels.
        """
        preprocessing = self.preprocessing.for_run(side)
        return dataclasses.replace(self, num_classes=num_classes, preprocessing=preprocessing)

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "architecture": self.architecture,
            "num_classes": self.num_classes,
            "preprocessing": self.preprocessing.to_json(),
            "source": self.source,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "PublishedNetwork":
        """The reverse of `to_json`, for what may be anything.

        Raises:
          UserError: impossible values.
          TypeError, ValueError, KeyError: other fields, or values of other types.
        """
        preprocessing = Preprocessing.from_json(values["preprocessing"])
        network = cls(**values | {"preprocessing": preprocessing})
        for value, kind in ((network.architecture, str), (network.num_classes, int)):
            if not isinstance(value, kind):
                raise TypeError(f"{value!r} is no {kind.__name__}")
        return network


def save_weights(
    path: str | os.PathLike, network: PublishedNetwork, arrays: Mapping[str, np.ndarray]
) -> None:
    """Writes a file of published weights, whole or not at all; kernels as int8 if that is exact.

    Args:
      path: of the new file.
      network: what the file says of itself.
      arrays: float32 by name, as `array_shapes` has them.

    Raises:
      UserError: the file exists, or can't be written.
    """
    described = json.dumps({"format": _FORMAT, **network.to_json()}, sort_keys=True)
    content = safetensors.numpy.save(pack(arrays), {_FIELD: described})
    try:
        write_new(path, content)
    except FileExistsError:
        raise UserError(f"{path} exists: choose another name") from None
    except OSError as error:
        raise UserError(f"can't write {path}: {error.strerror or error}") from error


def describe_weights(path: str | os.PathLike) -> PublishedNetwork:
    """Reads what a file of published weights says of itself, without its arrays.

    Raises:
      UserError: no such file, or not one that `save_weights` wrote.
    """
    return _read(path)[0]


def load_weights(path: str | os.PathLike) -> tuple[PublishedNetwork, dict[str, Any]]:
    """Reads a file of published weights.

    Returns:
      The network, and its variables `params` and `batch_stats`.

    Raises:
      UserError: no such file, not one that `save_weights` wrote, or with other arrays than the
        architecture has.
    """
    network, arrays = _read(path, with_arrays=True)
    expected = array_shapes(network.module)
    for name in sorted(arrays.keys() | expected.keys()):
        given = _kind(arrays[name]) if name in arrays else "missing"
        needed = f"float32 {list(expected[name])}" if name in expected else "nothing"
        if given != needed:
            raise UserError(
                f"{path} isn't a whole {network.architecture}: {name} is {given}, where the "
                f"network has {needed}; import it again"
            )
    return network, unflatten_dict({k: jnp.asarray(v) for k, v in arrays.items()}, sep="/")


def _kind(array):
    return f"{array.dtype} {list(array.shape)}"


def _read(path, with_arrays=False):
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(
            f"there is no file of weights {path}: `raeg weights import NAME FILE {path}` makes one"
        )
    try:
        with safetensors.safe_open(path, "numpy") as file:
            described = json.loads((file.metadata() or {})[_FIELD])
            if described.pop("format") != _FORMAT:
                raise ValueError("format")
            names = list(file.keys()) if with_arrays else []
            arrays = unpack({name: file.get_tensor(name) for name in names})
            network = PublishedNetwork.from_json(described)
            if network.preprocessing.of_run:
                raise ValueError("a network with a head, of a generator file")
            # Such a network can be built.
            network.module  # noqa: B018
            return network, arrays
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror or error}") from error
    except UserError as error:
        raise UserError(f"{path} can't be used: {error}") from error
    except (
        safetensors.SafetensorError, AttributeError, KeyError, TypeError, ValueError,
    ) as error:  # fmt: skip
        raise UserError(
            f"{path} is no file of weights of ours: make one with `raeg weights import NAME FILE "
            "OUT.safetensors`"
        ) from error
