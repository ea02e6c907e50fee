"""RAE and RIT as contenders."""

from collections.abc import Sequence

import numpy as np

from raeg_jax.baselines import recover as recover_lib
from raeg_jax.baselines.method import Method
from raeg_jax.baselines.protector import BaselineProtector
from raeg_jax.comparison.contender import Made, nonces_of
from raeg_jax.evaluation import tokens
from raeg_jax.payload.errors import PayloadError


class Baseline:
    """A method whose file has the PSNR asked for, image by image.

    Args:
      method: `RAE()` or `RIT()`.
      logits_fns: the classifiers attacked.
      psnr: of each file, in decibels.
      seed: of key and nonces.
      options: of `BaselineProtector`: attack, steps, batch_size.
    """

    def __init__(self, method: Method, logits_fns: Sequence, psnr: float, seed: int, **options):
        self.aim, self._key = psnr, tokens.key_of(seed, "comparison")
        self._protector = BaselineProtector(
            method, logits_fns, self._key, psnr=psnr, nonces=nonces_of(seed), **options
        )

    def prepare(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Has nothing to do."""

    def protect(self, images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> list[Made]:
        """Images that can't hold their payload, or miss the PSNR, are failures."""
        return [
            Made(
                one.failure, one.adversarial, one.unmarked, one.pixels, one.blob or b"",
                not one.failure,
            )
            for one in self._protector.protect(list(images), labels.tolist())
        ]  # fmt: skip

    def recover(
        self, images: np.ndarray, blobs: list[bytes | None]
    ) -> list[np.ndarray | PayloadError]:
        """With the key alone."""
        found = []
        for image, blob in zip(images, blobs, strict=True):
            try:
                found.append(recover_lib.recover(image, self._key, blob).pixels)
            except PayloadError as error:
                found.append(error.with_traceback(None))
        return found

    def estimate(self, images: np.ndarray, blobs: list[bytes]) -> list[np.ndarray | None]:
        """Undoes the method alone; RIT may find that blocks don't fit their classes."""
        found = []
        for image, blob in zip(images, blobs, strict=True):
            try:
                found.append(recover_lib.estimate(image, self._key, blob))
            except PayloadError:
                found.append(None)
        return found
