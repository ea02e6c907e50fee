"""RAEG as a contender: the generator of the run, its payload in the file as the tool has it."""

import math

import numpy as np

from raeg_jax.comparison.contender import Made, nonces_of
from raeg_jax.evaluation import tokens
from raeg_jax.experiments.reading import aim_at, possible
from raeg_jax.experiments.subject import Subject
from raeg_jax.image.metrics import mse_of_psnr, psnr_of_mse
from raeg_jax.payload.errors import PayloadError
from raeg_jax.payload.extraction import extract_payload
from raeg_jax.protection.loaded_generator import LoadedGenerator
from raeg_jax.protection.protect import Protector
from raeg_jax.protection.recover import Recovered, Recoverer
from raeg_jax.rules import GENERATOR_RULES

# Decibels: so near on average is good enough; and how often it is tried.
_NEAR, _TRIES = 0.03, 4


class Generator:
    """The generator, aimed a little above the PSNR asked for, so that hiding makes it that one.

    How much above is found with some images. A learned stage has a PSNR of its own.

    Args:
      subject: has the generator.
      psnr: of the files on average, in decibels.
      seed: of key and nonces, and so of tokens.
      batch_size: images at a time.
      aim: of the generator, where it was found before.

    Attributes:
      aim: what the generator aims at, in decibels; recovery needs the same.

    Raises:
      UserError: a generator that can't be undone exactly.
    """

    def __init__(
        self, subject: Subject, psnr: float, seed: int, batch_size: int, aim: float | None = None
    ):
        self._subject, self._psnr, self._batch_size = subject, psnr, batch_size
        self._key, self._nonces = tokens.key_of(seed, "comparison"), nonces_of(seed)
        self._own = subject.config.generator.stages[-1] == "learned"
        self._aim(psnr if aim is None else aim)

    def _aim(self, psnr: float) -> None:
        config = self._subject.config.copy_and_resolve_references()
        self.aim = psnr
        aim_at(config, psnr)
        targets = {name: self._subject.classifiers[name] for name in self._subject.targets}
        names = self._subject.splits.class_names
        bundle = LoadedGenerator(config, tuple(names), self._subject.params, targets)
        options = {"batch_size": self._batch_size}
        self._protector = Protector(bundle, self._key, nonces=self._nonces, **options)
        self._recoverer = Recoverer(bundle, self._key, **options)

    def prepare(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Finds the aim: distances add up, that of the generator and that of hiding."""
        if self._own:
            return
        asked, best = mse_of_psnr(self._psnr), (math.inf, self.aim)
        for _ in range(_TRIES):
            made = self._protector.protect(list(images), labels.tolist())
            reached = [one.psnr for one in made if math.isfinite(one.psnr)]
            if not reached:
                break
            miss = float(np.mean(reached)) - self._psnr
            best = min(best, (abs(miss), self.aim))
            taken = mse_of_psnr(self._psnr + miss) - mse_of_psnr(self.aim)
            aim = psnr_of_mse(max(asked - taken, asked / 4))
            if abs(miss) < _NEAR or not self._reaches(aim):
                break
            self._aim(aim)
        if self.aim != best[1]:
            self._aim(best[1])

    def _reaches(self, psnr: float) -> bool:
        allowed = GENERATOR_RULES["generator.gradient.target_psnr"].accepts(psnr)
        return allowed and possible(self._subject.config, psnr)

    def protect(self, images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> list[Made]:
        """Protects as `raeg protect` does; a payload without room stays beside the pixels."""
        return [_made(one) for one in self._protector.protect(list(images), labels.tolist())]

    def recover(
        self, images: np.ndarray, blobs: list[bytes | None]
    ) -> list[np.ndarray | PayloadError]:
        """As `raeg recover`."""
        return [
            found.pixels if isinstance(found, Recovered) else found
            for found in self._recoverer.recover(list(images), blobs)
        ]

    def estimate(self, images: np.ndarray, blobs: list[bytes]) -> list[np.ndarray | None]:
        """Runs the generator backward."""
        return self._recoverer.estimate(list(images), blobs)


def _made(one) -> Made:
    unmarked = extract_payload(one.pixels, None).pixels if one.in_pixels else one.pixels
    return Made("", unmarked, unmarked, one.pixels, one.blob, one.in_pixels)
