"""RAE and RIT as methods: each file has the requested PSNR, image by image."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from raeg_jax.evaluation import protectors
from raeg_jax.evaluation.programs import labels_of_attack
from raeg_jax.methods.method import Method, Result, repeatable_nonces
from raeg_jax.methods.protector import TransformProtector
from raeg_jax.methods.rae import RAE
from raeg_jax.methods.recovery import estimate, try_recover
from raeg_jax.methods.rit import RIT
from raeg_jax.methods.transform import Transform
from raeg_jax.payload.errors import PayloadError


class TransformMethod(Method):
    """An attack on the target classifiers, and a reversible transform toward what it found.

    Attributes:
      transform: its settings are in `config.comparison`, under its name; attack and steps are
        `config.comparison.attack` and `config.comparison.steps`.
    """

    reversible = True
    transform: ClassVar[type[Transform]]

    def __post_init__(self):
        self._key = protectors.key_of(self.seed, "comparison")
        config = self.run.config.comparison
        self._protector = TransformProtector(
            self.transform(**config[self.transform.name]),
            self.target_classifiers(),
            self._key,
            attack=config.attack,
            steps=config.steps,
            psnr=self.psnr,
            batch_size=self.batch_size,
            nonces=repeatable_nonces(self.seed),
        )

    def protect(self, images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> list[Result]:
        """Fails for images that can't hold their payload or miss the PSNR."""
        targets = self.target_classifiers()
        classes = labels_of_attack(targets, images, labels, self.batch_size).tolist()
        return [
            Result(x.failure, x.adversarial, x.unmarked, x.pixels, x.blob, not x.failure)
            for x in self._protector.protect(list(images), classes)
        ]

    def recover(
        self, images: np.ndarray, blobs: Sequence[bytes | None]
    ) -> Sequence[np.ndarray | PayloadError]:
        """Needs nothing but the key."""
        results = [
            try_recover(image, self._key, blob) for image, blob in zip(images, blobs, strict=True)
        ]
        return [x if isinstance(x, PayloadError) else x.pixels for x in results]

    def estimate(self, images: np.ndarray, blobs: Sequence[bytes]) -> Sequence[np.ndarray | None]:
        """Inverts the transform; RIT's blocks may no longer fit their classes."""
        return [self._estimate(image, blob) for image, blob in zip(images, blobs, strict=True)]

    def _estimate(self, image: np.ndarray, blob: bytes) -> np.ndarray | None:
        try:
            return estimate(image, self._key, blob)
        except PayloadError:
            return None


class RAEMethod(TransformMethod):
    """See `RAE`."""

    title, transform = "RAE", RAE
    settings = ("attack", "steps", "rae")


class RITMethod(TransformMethod):
    """See `RIT`."""

    title, transform = "RIT", RIT
    settings = ("attack", "steps", "rit")
