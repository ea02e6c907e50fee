"""The compared methods RAE and RIT as the tool takes a generator: same arguments, same results."""

from collections.abc import Sequence

import numpy as np

from raeg_jax.assembly import target_psnrs
from raeg_jax.baselines.protector import Attempt, BaselineProtector
from raeg_jax.baselines.rae import RAE
from raeg_jax.baselines.recover import recover
from raeg_jax.baselines.rit import RIT
from raeg_jax.errors import UserError
from raeg_jax.networks.frozen import FrozenClassifier
from raeg_jax.payload.errors import OtherGeneratorError, PayloadError
from raeg_jax.payload.key import Key
from raeg_jax.payload.payload import SourceMode
from raeg_jax.protection.loaded_generator import LoadedGenerator
from raeg_jax.protection.predict import predict_labels
from raeg_jax.protection.protect import Protected
from raeg_jax.protection.recover import Recovered, Recoverer

_METHODS = {"rae": RAE(), "rit": RIT()}


class ComparedProtector:
    """Protects with RAE or RIT, against the target classifiers of a generator.

    Args:
      name: 'rae' or 'rit'.
      bundle: has the classifiers.
      key: the owner's.
      psnr: of each file, in decibels; by default what the generator's last stage aims at.
      batch_size: images at a time.

    Raises:
      UserError: the generator has no classifiers, or an impossible PSNR.
    """

    def __init__(
        self, name: str, bundle: LoadedGenerator, key: Key, psnr: float | None, batch_size: int
    ):
        targets = bundle.config.classifiers.targets
        if not bundle.classifiers or not set(targets) <= bundle.classifiers.keys():
            raise UserError(
                f"--method={name} attacks the generator's target classifiers, and this generator's "
                "file has none: give with --generator one that `raeg export` made with --stages "
                "gradient, or with --classifier for each target"
            )
        asked = list(target_psnrs(bundle.config).values())[-1] if psnr is None else psnr
        self._name, self._bundle, self._batch_size = name, bundle, batch_size
        self._protector = BaselineProtector(
            _METHODS[name],
            [FrozenClassifier(*bundle.classifiers[target]) for target in targets],
            key,
            psnr=asked,
            batch_size=batch_size,
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return self._bundle.class_names

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """What images that can share batches have in common."""
        return self._protector.shape(height, width)

    def protect(
        self,
        images: Sequence[np.ndarray],
        labels: Sequence[int | None],
        modes: Sequence[SourceMode],
        orientations: Sequence[int],
    ) -> list[Protected | UserError]:
        """As `codec.protect.Protector.protect`; an error stands for an image that has no room."""
        labels = list(labels)
        if unknown := [index for index, label in enumerate(labels) if label is None]:
            seen = predict_labels(self._bundle, [images[i] for i in unknown], self._batch_size)
            for index, label in zip(unknown, seen.tolist(), strict=True):
                labels[index] = label
        made = self._protector.protect(images, labels, modes, orientations)
        return [self._result(one) for one in made]

    def _result(self, one: Attempt) -> Protected | UserError:
        if one.failure:
            return UserError(
                f"{self._name.upper()} fails: {one.failure}; try another --psnr, or no --method"
            )
        return Protected(one.pixels, one.blob, True, one.psnr, one.label)


class AnyRecoverer:
    """Recovers what a generator protected, and what RAE and RIT did, which need none.

    Args:
      recoverer: of the generator.
      key: the owner's.
    """

    def __init__(self, recoverer: Recoverer, key: Key):
        self._recoverer, self._key = recoverer, key

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """As of `codec.recover.Recoverer`."""
        return self._recoverer.shape(height, width)

    def recover(
        self, images: Sequence[np.ndarray], blobs: Sequence[bytes | None]
    ) -> list[Recovered | PayloadError]:
        """As `codec.recover.Recoverer.recover`."""
        found = self._recoverer.recover(images, blobs)
        return [
            self._again(*each) if isinstance(each[0], OtherGeneratorError) else each[0]
            for each in zip(found, images, blobs, strict=True)
        ]

    def _again(self, error, image, blob):
        try:
            return recover(image, self._key, blob)
        except OtherGeneratorError:
            return error
        except PayloadError as other:
            return other.with_traceback(None)
