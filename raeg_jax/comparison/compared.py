"""A contender's files, in the situation in which experiments look at a generator's."""

import dataclasses
import functools
import hashlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from raeg_jax import config as config_lib
from raeg_jax.comparison.contender import Contender, Made
from raeg_jax.comparison.contenders import contender
from raeg_jax.evaluation.roundtrip import png_roundtrip
from raeg_jax.experiments.subject import Subject
from raeg_jax.files import whole_file

# Batches that are protected together: images that need more than one attack share them.
_TOGETHER = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Files:
    """What a contender made of a split; images [n] are those of which there is a file.

    Attributes:
      kept: int [n], numbers of these among the originals.
      images: uint8 [n, H, W, 3], as the files have them.
      unmarked: uint8 [n, H, W, 3], before hiding.
      adversarial: uint8 [n, H, W, 3], what the attack found.
      in_pixels: bool [n], the payload is in the file.
      payloads: uint8, the payloads one after the other, of `sizes` bytes each.
      sizes: int [n].
      failures: why there is no file of the others.
      seconds: that an image took; without the first images where there are more.
      aim: of the contender.
    """

    kept: np.ndarray
    images: np.ndarray
    unmarked: np.ndarray
    adversarial: np.ndarray
    in_pixels: np.ndarray
    payloads: np.ndarray
    sizes: np.ndarray
    failures: np.ndarray
    seconds: np.ndarray
    aim: np.ndarray

    def blob(self, index: int) -> bytes:
        """The payload of an image."""
        start = int(self.sizes[:index].sum())
        return self.payloads[start : start + int(self.sizes[index])].tobytes()


@dataclasses.dataclass(frozen=True, eq=False)
class Compared(Subject):
    """A subject whose protected images are those of a contender.

    Its originals are those that the contender can protect.

    Attributes:
      method: of `contenders.METHODS`.
      psnr: of the files, in decibels.
      chance: number of the repetition: of keys, tokens and noise.
    """

    method: str = ""
    psnr: float = 0.0
    chance: int = 0

    def contender(self, aim: float | None = None) -> Contender:
        """What makes the files, or undoes those that it made when it had this `aim`."""
        size, seed = self.config.eval.batch_size, self.config.seed + self.chance
        return contender(self.method, self, self.psnr, seed, size, aim)

    def given(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """All originals and their labels."""
        return super().originals(split)

    def originals(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Originals and labels of the images that are protected."""
        images, labels = self.given(split)
        kept = self.protected(split).kept
        return images[kept], labels[kept]

    def unseen(self) -> tuple[np.ndarray, np.ndarray]:
        """All of them: clean images need no files."""
        return self.given("test")

    @functools.cache  # noqa: B019
    def protected(self, split: str) -> Files:
        """The files of a split, made once and kept in the folder."""
        path = self.folder / f"{self.method}_{split}_{self._identity(split)}.npz"
        if not path.is_file():
            found = self._make(split)
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                np.savez(file, **found)
        with np.load(path) as kept:
            return Files(**kept)

    def _make(self, split: str) -> dict[str, Any]:
        images, labels = self.given(split)
        step = _TOGETHER * self.config.eval.batch_size
        made, seconds, maker = [], [], self.contender()
        with tqdm(total=len(labels), desc=f"{self.method}, {self.psnr:g} dB", unit="img") as bar:
            for start in range(0, len(labels), step):
                some = slice(start, start + step)
                index = np.arange(len(labels), dtype=np.int32)[some]
                started = time.perf_counter()
                made += maker.protect(images[some], labels[some], index)
                seconds.append((time.perf_counter() - started) / len(index))
                bar.update(len(index))
        found = _arrays(made, images.shape[1:])
        return found | {"seconds": np.mean(seconds[1:] or seconds), "aim": np.array(maker.aim)}

    @functools.cache  # noqa: B019
    def _identity(self, split: str) -> str:
        """Changes with all that the files depend on."""
        own = [self.method, self.psnr, self.config.seed + self.chance]
        own.append(sorted(settings_of(self.config, self.method).items()))
        if self.method == "raeg":
            own.append(config_lib.of_stages(self.config.generator.to_dict()))
        digest = hashlib.sha256(repr(own).encode())
        targets = {name: self.classifiers[name][1] for name in self.targets}
        for array in (*self.given(split), *jax.tree.leaves((self.params, targets))):
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()[:16]


def _arrays(made: Sequence[Made], shape: Sequence[int]) -> dict[str, Any]:
    kept = [index for index, one in enumerate(made) if not one.failure]
    good = [made[index] for index in kept]

    def stack(images):
        return np.stack(images) if images else np.zeros((0, *shape), np.uint8)

    files = stack([one.file for one in good])
    return {
        "kept": np.array(kept, np.int64),
        "images": png_roundtrip(files)[0] if good else files,
        "unmarked": stack([one.unmarked for one in good]),
        "adversarial": stack([one.adversarial for one in good]),
        "in_pixels": np.array([one.in_pixels for one in good], bool),
        "payloads": np.frombuffer(b"".join(one.blob for one in good), np.uint8),
        "sizes": np.array([len(one.blob) for one in good], np.int64),
        "failures": np.array([one.failure for one in made if one.failure], str),
    }


@dataclasses.dataclass(frozen=True, eq=False)
class Make:
    """Makes what is compared of a subject; the same again if it was made before.

    Attributes:
      subject: generator, data and classifiers.
    """

    subject: Subject

    @functools.cache  # noqa: B019
    def __call__(
        self, method: str, psnr: float, chance: int = 0, of: Subject | None = None
    ) -> Compared:
        """Takes the method's name, the PSNR of its files, the repetition, and perhaps images."""
        subject = of or self.subject
        most = dict(subject.most)
        if not of:
            most["test"] = images_at(subject.config, psnr)
        own = {field.name: getattr(subject, field.name) for field in dataclasses.fields(Subject)}
        return Compared(**own | {"most": most}, method=method, psnr=psnr, chance=chance)

    def depends(self, method: str, psnr: float) -> dict[str, Any]:
        """The settings that a method's results depend on."""
        config = self.subject.config
        return settings_of(config, method) | {"psnr": psnr, "images": images_at(config, psnr)}


def settings_of(config: ConfigDict, method: str) -> dict[str, Any]:
    """Of `config.comparison` what a method goes by."""
    own = ("attack", "steps", method) if method in ("rae", "rit") else ("steps",)
    settings = config.comparison.to_dict()
    return {name: settings[name] for name in own if method not in ("raeg", "noise")}


def images_at(config: ConfigDict, psnr: float) -> int:
    """How many unseen images are protected; 0 for all."""
    settings = config.comparison
    return settings.images if psnr == settings.psnr else settings.curve_images
