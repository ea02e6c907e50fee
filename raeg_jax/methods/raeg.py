"""RAEG as a method: the run's generator, with payload and file as `raeg protect` makes them."""

import math
from collections.abc import Sequence

import numpy as np

from raeg_jax.config.generator_rules import GENERATOR_RULES
from raeg_jax.evaluation import protectors
from raeg_jax.evaluation.trained_run import aim_at, can_aim_at
from raeg_jax.image.metrics import mse_of_psnr, psnr_of_mse
from raeg_jax.methods.method import Method, Result, repeatable_nonces
from raeg_jax.payload.errors import PayloadError
from raeg_jax.payload.seal import extract_payload
from raeg_jax.protection.loaded_generator import LoadedGenerator
from raeg_jax.protection.protect import Protected, Protector
from raeg_jax.protection.recover import Recovered, Recoverer

# `prepare` stops when the mean PSNR is this near (decibels), or after so many tries.
_TOLERANCE, _TRIES = 0.03, 4


class RAEG(Method):
    """The generator, aimed above the requested PSNR so that hiding brings its files down to it.

    `prepare` finds the aim with some images. A generator whose last stage is learned can't be
    aimed: it has a PSNR of its own.

    Raises:
      UserError: a generator that can't be undone exactly.
    """

    title = "RAEG"
    reversible = True
    randomised = True

    def __post_init__(self):
        self._key = protectors.key_of(self.seed, "comparison")
        self._nonces = repeatable_nonces(self.seed)
        self._aim_generator(self.aim)

    def _aim_generator(self, aim: float) -> None:
        """Makes `Protector` and `Recoverer` of the generator that aims at a PSNR in decibels."""
        run, self.aim = self.run, aim
        config = run.config.copy_and_resolve_references()
        aim_at(config, aim)
        targets = {name: run.classifiers[name] for name in run.targets}
        generator = LoadedGenerator(
            config, tuple(run.splits.class_names), run.params, targets, patterns=run.patterns
        )
        self._protector = Protector(
            generator, self._key, nonces=self._nonces, batch_size=self.batch_size
        )
        self._recoverer = Recoverer(generator, self._key, batch_size=self.batch_size)

    def prepare(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Finds `aim`: the squared errors of the generator and of hiding add up."""
        if self.run.config.generator.stages[-1] == "learned":
            return
        requested, best = mse_of_psnr(self.psnr), (math.inf, self.aim)
        for _ in range(_TRIES):
            protected = self._protector.protect(list(images), labels.tolist())
            psnrs = [image.psnr for image in protected if math.isfinite(image.psnr)]
            if not psnrs:
                break
            miss = float(np.mean(psnrs)) - self.psnr
            best = min(best, (abs(miss), self.aim))
            hiding = mse_of_psnr(self.psnr + miss) - mse_of_psnr(self.aim)
            aim = psnr_of_mse(max(requested - hiding, requested / 4))
            if abs(miss) < _TOLERANCE or not self._reaches(aim):
                break
            self._aim_generator(aim)
        if self.aim != best[1]:
            self._aim_generator(best[1])

    def _reaches(self, psnr: float) -> bool:
        allowed = GENERATOR_RULES["generator.gradient.target_psnr"].accepts(psnr)
        return allowed and can_aim_at(self.run.config, psnr)

    def protect(self, images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> list[Result]:
        """Protects as `raeg protect` does; a payload without room stays beside the pixels."""
        return [_result(image) for image in self._protector.protect(list(images), labels.tolist())]

    def recover(
        self, images: np.ndarray, blobs: Sequence[bytes | None]
    ) -> Sequence[np.ndarray | PayloadError]:
        """Recovers as `raeg recover` does."""
        return [
            found.pixels if isinstance(found, Recovered) else found
            for found in self._recoverer.recover(list(images), blobs)
        ]

    def estimate(self, images: np.ndarray, blobs: Sequence[bytes]) -> Sequence[np.ndarray | None]:
        """Runs the generator backward."""
        return self._recoverer.estimate(list(images), blobs)


def _result(image: Protected) -> Result:
    pixels = image.pixels
    unmarked = extract_payload(pixels, None).pixels if image.in_pixels else pixels
    return Result("", unmarked, unmarked, pixels, image.blob, image.in_pixels)
