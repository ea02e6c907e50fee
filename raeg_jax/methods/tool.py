"""RAE and RIT as `raeg protect --method` uses them: same arguments and results as a generator."""

from collections.abc import Sequence

import numpy as np

from raeg_jax.errors import UserError
from raeg_jax.generator.build import target_psnrs
from raeg_jax.methods.protector import Attempt, TransformProtector
from raeg_jax.methods.recovery import TRANSFORMS
from raeg_jax.networks.classifiers import FrozenClassifier
from raeg_jax.payload.key import Key
from raeg_jax.payload.payload import SourceMode
from raeg_jax.protection.loaded_generator import LoadedGenerator
from raeg_jax.protection.predict import predict_labels
from raeg_jax.protection.protect import Protected


class ToolProtector:
    """Protects with RAE or RIT, against the target classifiers of a generator.

    Args:
      name: 'rae' or 'rit'.
      generator: has the classifiers.
      key: the owner's.
      psnr: of each file, in decibels; by default what the generator's last stage aims at.
      batch_size: images at a time.

    Raises:
      UserError: the generator has no classifiers.
    """

    def __init__(
        self, name: str, generator: LoadedGenerator, key: Key, psnr: float | None, batch_size: int
    ):
        targets = generator.config.classifiers.targets
        if not generator.has_targets:
            raise UserError(
                f"--method={name} attacks the generator's target classifiers, and this generator's "
                "file has none: give with --generator one that `raeg export` made with --stages "
                "gradient, or with --classifier for each target"
            )
        if psnr is None:
            psnr = list(target_psnrs(generator.config).values())[-1]
        self._name, self._generator, self.batch_size = name, generator, batch_size
        self._protector = TransformProtector(
            TRANSFORMS[name](),
            [FrozenClassifier(*generator.classifiers[target]) for target in targets],
            key,
            psnr=psnr,
            batch_size=batch_size,
        )
        self.shape = self._protector.shape

    def protect(
        self,
        images: Sequence[np.ndarray],
        labels: Sequence[int | None],
        modes: Sequence[SourceMode],
        orientations: Sequence[int],
    ) -> list[Protected | UserError]:
        """Protects images as `protection.protect.Protector.protect` does, same arguments.

        Returns:
          Of each the protected image, or the error that says why it can't be protected.
        """
        unknown = [image for image, label in zip(images, labels, strict=True) if label is None]
        read = iter(predict_labels(self._generator, unknown, self.batch_size) if unknown else ())
        classes = [int(next(read)) if label is None else label for label in labels]
        attempts = self._protector.protect(images, classes, modes, orientations)
        return [self._result(attempt) for attempt in attempts]

    def _result(self, attempt: Attempt) -> Protected | UserError:
        if attempt.pixels is None:
            return UserError(
                f"{self._name.upper()} fails: {attempt.failure}; try another --psnr, or no --method"
            )
        return Protected(attempt.pixels, attempt.blob, True, attempt.psnr, attempt.label)
