"""A contender's files, in the situation in which experiments look at a generator's."""

import dataclasses
import functools
import hashlib
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from raeg_jax.bar import ProgressBar
from raeg_jax.config import run_config
from raeg_jax.data.memory import spread
from raeg_jax.evaluation.timing import Stopwatch
from raeg_jax.experiments import pirates
from raeg_jax.experiments.subject import Subject
from raeg_jax.methods import files as files_lib
from raeg_jax.methods.files import ProtectedFiles
from raeg_jax.methods.method import Method
from raeg_jax.methods.registry import make_method

# Batches that are protected together: images that need more than one attack share them.
_TOGETHER = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Compared(Subject):
    """A subject whose protected images are those of a contender.

    Its originals are those that the contender can protect.

    Attributes:
      method: of `contenders.METHODS`.
      psnr: of the files, in decibels.
      chance: number of the repetition: of keys, tokens and noise.
      source: has all originals.
    """

    method: str
    psnr: float
    chance: int
    source: Subject

    def contender(self, aim: float | None = None) -> Method:
        """What makes the files, or undoes those that it made when it had this `aim`."""
        size, seed = self.config.eval.batch_size, self.config.seed + self.chance
        return make_method(self.method, self, self.psnr, seed, size, aim)

    def given(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """All originals and their labels."""
        return self.source.originals(split)

    def originals(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Originals and labels of the images that are protected."""
        images, labels = self.given(split)
        kept = self.protected(split).kept
        return images[kept], labels[kept]

    def unseen(self) -> tuple[np.ndarray, np.ndarray]:
        """All of them: clean images need no files."""
        return self.given("test")

    @functools.cached_property
    def _found(self) -> dict[str, ProtectedFiles]:
        return {}

    def protected(self, split: str) -> ProtectedFiles:
        """The files of a split, made once and kept in the folder."""
        if split not in self._found:
            path = self.folder / f"{self.method}_{split}_{self._identity(split)}.npz"
            if not path.is_file():
                self._make(split).save(path)
            self._found[split] = files_lib.load(path)
        return self._found[split]

    def _make(self, split: str) -> ProtectedFiles:
        images, labels = self.given(split)
        size = self.config.eval.batch_size
        made, maker, watch = [], self.contender(), Stopwatch()
        some = spread(labels, min(size, len(labels)))
        maker.prepare(images[some], labels[some])
        with ProgressBar(
            total=len(labels), desc=f"{self.method}, {self.psnr:g} dB", unit="img"
        ) as bar:
            for start in range(0, len(labels), _TOGETHER * size):
                index = np.arange(len(labels), dtype=np.int32)[start : start + _TOGETHER * size]
                with watch:
                    made += maker.protect(images[index], labels[index], index)
                bar.update(len(index))
        return files_lib.collect(
            made, images.shape[1:], watch.seconds / len(labels), maker.aim, whole=split == "test"
        )

    def _identity(self, split: str) -> str:
        """Changes with all that the files depend on."""
        config = self.config
        own = [self.method, self.psnr, config.seed + self.chance, config.eval.batch_size]
        own += [sorted(settings_of(config, self.method).items()), run_config.versions()]
        weights = {name: self.classifiers[name][1] for name in self.targets}
        if self.method == "raeg":
            own.append(config.generator.to_dict())
            weights = self.params, weights
        digest = hashlib.sha256(repr(own).encode())
        weights = () if self.method == "noise" else jax.tree.leaves(weights)
        for array in (*self.given(split), *weights):
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True, eq=False)
class Make:
    """Makes what is compared of a subject; the last one isn't made again.

    Attributes:
      subject: generator, data and classifiers.
    """

    subject: Subject

    @functools.lru_cache(maxsize=1)  # noqa: B019
    def __call__(self, method: str, psnr: float, chance: int = 0) -> Compared:
        """Takes the method's name, the PSNR of its files, and the repetition."""
        return self._of(self._unseen(images_at(self.subject.config, psnr)), method, psnr, chance)

    @functools.lru_cache(maxsize=1)  # noqa: B019
    def given_away(self, method: str, psnr: float) -> Compared:
        """The same, with the images that pirates get hold of."""
        return self._of(self.owner, method, psnr, 0)

    @functools.cached_property
    def owner(self) -> Subject:
        """Has the originals of these."""
        return pirates.owner(self.subject)

    @functools.cache  # noqa: B019
    def _unseen(self, count: int) -> Subject:
        most = self.subject.most | {"test": count}
        return dataclasses.replace(self.subject, most=most)

    def _of(self, source: Subject, method: str, psnr: float, chance: int) -> Compared:
        own = {field.name: getattr(source, field.name) for field in dataclasses.fields(Subject)}
        return Compared(**own, method=method, psnr=psnr, chance=chance, source=source)

    def depends(self, method: str, psnr: float) -> dict[str, Any]:
        """The settings that a method's files depend on, but for their images."""
        return settings_of(self.subject.config, method) | {"psnr": psnr}


def settings_of(config: ConfigDict, method: str) -> dict[str, Any]:
    """Of `config.comparison` what a method goes by."""
    own = {"rae": ("attack", "steps", "rae"), "rit": ("attack", "steps", "rit"), "pgd": ("steps",)}
    settings = config.comparison.to_dict()
    return {name: settings[name] for name in own.get(method, ())}


def images_at(config: ConfigDict, psnr: float) -> int:
    """How many unseen images are protected; 0 for all."""
    settings = config.comparison
    return settings.images if psnr == settings.psnr else settings.curve_images
