"""What is examined: a generator with its data and classifiers, and the images it made."""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax import data
from raeg_jax.data.decode import encode_png
from raeg_jax.data.memory import open_split
from raeg_jax.evaluation import compiled, tokens
from raeg_jax.evaluation.batches import measure_all
from raeg_jax.evaluation.roundtrip import png_roundtrip
from raeg_jax.files import whole_file
from raeg_jax.generator.build import build_generator
from raeg_jax.generator.chain import Chain
from raeg_jax.networks.classifiers import FrozenClassifier


@dataclasses.dataclass(frozen=True)
class Protected:
    """Protected images as their files have them.

    Attributes:
      images: uint8 [N, H, W, 3].
      code: what the generator's inverse needs beside them, arrays [N].
    """

    images: np.ndarray
    code: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A generator in the situation in which experiments look at it.

    Attributes:
      config: the whole configuration.
      splits: the data set.
      params: of the learned stage, None without one.
      classifiers: (module, variables) of targets and held-out ones by name.
      folder: keeps protected images, so that each is made once.
      most: at most so many images, by split; 0 for all.
    """

    config: ConfigDict
    splits: data.Splits
    params: Any
    classifiers: Mapping[str, tuple[nn.Module, Any]]
    folder: pathlib.Path
    most: Mapping[str, int]

    @functools.cached_property
    def chain(self) -> Chain:
        """The generator."""
        return compiled.on_one_device(build_generator(self.config, self.params, self.classifiers))

    @functools.cached_property
    def frozen(self) -> dict[str, FrozenClassifier]:
        """All classifiers by name, targets first."""
        return {
            name: compiled.on_one_device(FrozenClassifier(*pair))
            for name, pair in self.classifiers.items()
        }

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the attacked classifiers."""
        return tuple(self.config.classifiers.targets)

    def batch_size(self, split: str) -> int:
        """Images at a time."""
        return min(self.config.eval.batch_size, len(self.originals(split)[1]))

    @functools.cache  # noqa: B019
    def originals(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 [N, H, W, 3] and labels int32 [N] of 'train' or 'test'."""
        images, labels, _ = open_split(
            getattr(self.splits, split), self.config.data, self.most[split]
        )
        return np.asarray(images[np.arange(len(labels))]), labels

    def unseen(self) -> tuple[np.ndarray, np.ndarray]:
        """Clean images and labels that nothing was trained on, as `originals`."""
        return self.originals("test")

    def protect(self, index: np.ndarray, images: np.ndarray, labels: np.ndarray):
        """Protects a batch with the tokens of `evaluation.tokens`: images of files, and codes."""
        token = tokens.draw(self.chain, index, *images.shape[1:3])
        made, _, code = compiled.protect(self.chain, images, labels, token)
        return png_roundtrip(made)[0], code

    def recover(self, index: np.ndarray, images: np.ndarray, code: Any) -> np.ndarray:
        """Runs the generator backward on uint8 [B, H, W, 3], with the same tokens."""
        token = tokens.draw(self.chain, index, *images.shape[1:3])
        return np.asarray(compiled.recover(self.chain, images, code, token))

    @functools.cache  # noqa: B019
    def protected(self, split: str) -> Protected:
        """All images of a split, made once and kept in the folder."""
        images, labels = self.originals(split)
        structure = self._code_structure(images.shape[1:])
        path = self.folder / f"{split}_{self._identity(split)}.npz"
        if not path.is_file():

            def make(index, originals, truth):
                files, code = self.protect(index, originals, truth)
                return {"images": files} | {
                    f"code{i}": leaf for i, leaf in enumerate(jax.tree.leaves(code))
                }

            made = measure_all(
                make, images, labels, self.batch_size(split), f"protecting the {split} images"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                np.savez(file, **made)
        with np.load(path) as kept:
            leaves = [kept[f"code{i}"] for i in range(structure.num_leaves)]
            return Protected(kept["images"], jax.tree.unflatten(structure, leaves))

    def kept(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """What was made of the fitted images, made once and kept in the folder.

        Args:
          name: differs for what is made otherwise.
          make: returns an array.
        """
        path = self.folder / f"{name}_{self._identity('train')}.npy"
        if not path.is_file():
            made = make()
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                np.save(file, made)
        return np.load(path)

    @staticmethod
    def code_of(made: Protected, index: np.ndarray) -> Any:
        """The code of some images."""
        return jax.tree.map(lambda leaf: leaf[index], made.code)

    def _code_structure(self, shape):
        token = tokens.draw(self.chain, np.zeros(1, np.int32), *shape[:2])
        made = jax.eval_shape(
            compiled.protect, self.chain, np.zeros((1, *shape), np.uint8), np.zeros(1, np.int32),
            token,
        )  # fmt: skip
        return jax.tree.structure(made[2])

    @functools.cache  # noqa: B019
    def _identity(self, split: str) -> str:
        """Changes with the generator and the images."""
        settings = self.config.generator.to_dict()
        digest = hashlib.sha256(repr(settings).encode())
        for array in (*self.originals(split), *jax.tree.leaves(self.chain)):
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()[:16]


def as_records(images: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """Images uint8 [N, H, W, 3] as a split that classifiers are trained on: PNG files."""
    return [
        {"image": encode_png(image), "label": int(label), "file_name": f"{index}.png"}
        for index, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
