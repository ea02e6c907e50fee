"""What experiments look at: a run, and the files that methods make of its images."""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from raeg_jax.compilation import ProgressBar
from raeg_jax.config import run_config
from raeg_jax.data.memory import spread
from raeg_jax.evaluation.programs import Stopwatch, batches
from raeg_jax.evaluation.protectors import PixelProtector, ProtectedBatch, nonce_of
from raeg_jax.evaluation.trained_run import TrainedRun
from raeg_jax.files import whole_file
from raeg_jax.generator.build import target_psnrs
from raeg_jax.methods import files as files_lib
from raeg_jax.methods.files import ProtectedFiles
from raeg_jax.methods.method import Result
from raeg_jax.methods.registry import METHODS, make_method
from raeg_jax.payload.payload import NONCE_SIZE
from raeg_jax.protection import passes

# Batches that are protected together: images that need more than one attack share them.
_BATCHES_TOGETHER = 4


class _FloatGenerator:
    """A generator with float couplings as a method: it can't be undone exactly, without a payload.

    In place of a payload an image has its number, from which its token is drawn, and its side
    information.
    """

    def __init__(self, run: TrainedRun, aim: float):
        targets = [run.frozen[name] for name in run.targets]
        self.aim, self._protector = aim, PixelProtector(run.chain, targets)
        self._batch_size = run.config.eval.batch_size

    def prepare(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Does nothing."""

    def protect(self, images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> list[Result]:
        """See `Method.protect`."""
        made = []
        for numbers, batch, truth, count in batches(images, labels, self._batch_size):
            protected = self._protector.protect(index[numbers], batch, truth)
            table = passes.to_table(self._protector.chain, protected.undo[1], len(batch))
            made += [
                Result("", image, image, image, nonce_of(index[number]) + row.tobytes())
                for image, number, row in zip(
                    protected.images[:count], numbers, table, strict=False
                )
            ]
        return made

    def recover(self, images: np.ndarray, blobs: list[bytes]) -> list[np.ndarray]:
        """Runs the generator backward."""
        numbers = np.array([int.from_bytes(blob[:NONCE_SIZE], "little") for blob in blobs])
        table = np.stack([np.frombuffer(blob[NONCE_SIZE:], np.int64) for blob in blobs])
        side_info = passes.from_table(self._protector.chain, table)
        batch = ProtectedBatch(images, np.zeros(0), {}, (numbers, side_info))
        return list(self._protector.recover_from_pixels(batch))

    estimate = recover


@dataclasses.dataclass(frozen=True, eq=False)
class ProtectedSet:
    """What a method makes of a run's images, with payloads where it can be undone.

    Attributes:
      run: generator, data and classifiers.
      method: of `METHODS`.
      psnr: of the files, in decibels; None for what the generator's last stage aims at.
      repeat: number of the repetition: of keys, tokens and noise.
      split: of the images, 'train' or 'test'.
      most: at most so many images; 0 for all.
      folder: files are kept there, so that each is made once.
    """

    run: TrainedRun
    method: str
    psnr: float | None
    repeat: int
    split: str
    most: int
    folder: pathlib.Path

    @property
    def asked_psnr(self) -> float:
        """The PSNR to make files of, in decibels."""
        return list(target_psnrs(self.run.config).values())[-1] if self.psnr is None else self.psnr

    def protector(self, aim: float | None = None) -> Any:
        """What makes the files, or undoes those that it made when it had this `aim`."""
        run, asked = self.run, self.asked_psnr
        if self.method == "raeg" and self.psnr is None and not run.chain.exact:
            return _FloatGenerator(run, asked)
        seed = run.config.seed + self.repeat
        return make_method(self.method, run, asked, seed, run.config.eval.batch_size, aim)

    def candidates(self) -> tuple[np.ndarray, np.ndarray]:
        """All originals that are to be protected, and their labels."""
        return self.run.images(self.split, self.most)

    def originals(self) -> tuple[np.ndarray, np.ndarray]:
        """Originals and labels of the images that have a file."""
        images, labels = self.candidates()
        return images[self.files.kept], labels[self.files.kept]

    @property
    def batch_size(self) -> int:
        """Images at a time, of those that have a file."""
        return min(self.run.config.eval.batch_size, len(self.files.kept))

    @functools.cached_property
    def files(self) -> ProtectedFiles:
        """The files, made if they aren't in the folder."""
        path = self.folder / f"{self.method}_{self.split}_{self._identity}.npz"
        if not path.is_file():
            self._protect().save(path)
        return files_lib.load(path)

    def _protect(self) -> ProtectedFiles:
        images, labels = self.candidates()
        size = self.run.config.eval.batch_size
        made, protector, watch = [], self.protector(), Stopwatch()
        if self.psnr is not None:
            some = spread(labels, min(size, len(labels)))
            protector.prepare(images[some], labels[some])
        description = f"{self.method}, {self.asked_psnr:g} dB, {self.split} images"
        with ProgressBar(total=len(labels), desc=description, unit="img") as bar:
            for start in range(0, len(labels), _BATCHES_TOGETHER * size):
                end = min(start + _BATCHES_TOGETHER * size, len(labels))
                index = np.arange(start, end, dtype=np.int32)
                with watch:
                    made += protector.protect(images[index], labels[index], index)
                bar.update(len(index))
        seconds = watch.seconds / len(labels)
        whole = self.split == "test"
        return files_lib.collect(made, images.shape[1:], seconds, protector.aim, whole)

    def cached(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """An array that is made of the files once, and kept in the folder.

        Args:
          name: differs for arrays that are made otherwise.
          make: returns the array.
        """
        path = self.folder / f"{name}_{self._identity}.npy"
        if not path.is_file():
            array = make()
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                np.save(file, array)
        return np.load(path)

    def change(self, images: np.ndarray, change: Callable[[Any], Any]) -> np.ndarray:
        """Changes images uint8 [N, H, W, 3] batch by batch."""
        size = min(self.run.config.eval.batch_size, len(images))
        parts = batches(images, np.zeros(len(images)), size)
        return np.concatenate([np.asarray(change(x))[:count] for _, x, _, count in parts])

    @functools.cached_property
    def _identity(self) -> str:
        """A digest of all that the files depend on."""
        run = self.run
        depends: list[Any] = [self.method, self.psnr, run.config.seed + self.repeat]
        depends += [run.config.eval.batch_size, sorted(settings_of(run, self.method).items())]
        depends.append(run_config.versions())
        weights: Any = {name: run.classifiers[name][1] for name in run.targets}
        if self.method == "raeg" or self.psnr is None:
            depends.append(run.config.generator.to_dict())
        if self.method == "raeg":
            weights = run.params, run.patterns, weights
        digest = hashlib.sha256(repr(depends).encode())
        leaves = [] if self.method == "noise" else jax.tree.leaves(weights)
        for array in (*self.candidates(), *leaves):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """What the units of experiments are measured with.

    Attributes:
      run: generator, data and classifiers.
      folder: of the results; images that methods made are kept in it.
      methods: of `METHODS`, for experiments that compare.
      compared: files have `config.comparison.psnr`, as many as `config.comparison` says; else the
        generator's own, as many as `config.suite` says.
    """

    run: TrainedRun
    folder: pathlib.Path
    methods: tuple[str, ...] = ("raeg",)
    compared: bool = False

    @property
    def psnr(self) -> float | None:
        """Of the files, in decibels; None for what the generator aims at."""
        return self.run.config.comparison.psnr if self.compared else None

    def most(self, psnr: float | None) -> int:
        """At most so many unseen images have files of this PSNR; 0 for all."""
        settings = self.run.config.comparison
        if not self.compared:
            return self.run.config.suite.images
        return settings.images if psnr == settings.psnr else settings.curve_images

    @functools.lru_cache(maxsize=1)  # noqa: B019
    def protected(self, method: str, psnr: float | None, repeat: int = 0) -> ProtectedSet:
        """The unseen images of a method; the last set that was asked for stays in memory."""
        return ProtectedSet(
            self.run, method, psnr, repeat, "test", self.most(psnr), self.folder / "images"
        )

    @functools.lru_cache(maxsize=1)  # noqa: B019
    def leaked(self, method: str) -> ProtectedSet:
        """The training images of a method, as many as pirates and removers are trained on."""
        most = self.run.config.suite.pirates.images
        return ProtectedSet(self.run, method, self.psnr, 0, "train", most, self.folder / "images")

    def depends(self, method: str, psnr: float | None) -> dict[str, Any]:
        """The settings that a method's files depend on, beside their number."""
        return settings_of(self.run, method) | ({} if psnr is None else {"psnr": psnr})

    @functools.cached_property
    def read_by(self) -> dict[str, Any]:
        """What units depend on whose images are read by `run.readers`, beside their settings.

        Nothing without readers, so that results without them stay.
        """
        readers = {name: reader.describe() for name, reader in self.run.readers.items()}
        return {"readers": readers} if readers else {}


def settings_of(run: TrainedRun, method: str) -> dict[str, Any]:
    """The settings of `config.comparison` that a method uses."""
    settings = run.config.comparison.to_dict()
    return {name: settings[name] for name in METHODS[method].settings}
