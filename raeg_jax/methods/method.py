"""A method makes protected images at a given PSNR; reversible ones also recover the originals."""

import abc
import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from raeg_jax.evaluation.trained_run import TrainedRun
from raeg_jax.networks.classifiers import FrozenClassifier
from raeg_jax.payload.errors import PayloadError
from raeg_jax.payload.payload import NONCE_SIZE


class Result(NamedTuple):
    """What a method made of one image.

    Attributes:
      failure: why there is no protected image; empty where there is one.
      adversarial: uint8 [H, W, 3], what the attack found.
      unmarked: uint8 [H, W, 3], the image in which the payload is hidden, before hiding.
      file: uint8 [H, W, 3], the protected image; None where the method failed.
      blob: the payload; empty where there is none.
      in_pixels: whether the protected image carries the payload in its pixels.
    """

    failure: str
    adversarial: np.ndarray
    unmarked: np.ndarray
    file: np.ndarray | None
    blob: bytes = b""
    in_pixels: bool = False


@dataclasses.dataclass(eq=False)
class Method(abc.ABC):
    """Changes images by a given distance, against the target classifiers of a run.

    Subclasses are entries of `registry.METHODS`; their class attributes hold for the method as a
    whole. May raise UserError for an impossible setting.

    Attributes:
      title: the method's name in reports.
      reversible: whether `recover` and `estimate` exist.
      randomised: whether another seed gives other images, by its tokens or its noise.
      settings: names in `config.comparison` that the protected images depend on.
      run: has the configuration, the generator and the target classifiers.
      psnr: of the protected images, in decibels.
      seed: of key, nonces and noise.
      batch_size: images at a time.
      aim: the PSNR in decibels that the method itself aims at, so that its files have `psnr`; to
        recover, it must be what it was when they were made.
    """

    title: ClassVar[str]
    reversible: ClassVar[bool] = False
    randomised: ClassVar[bool] = False
    settings: ClassVar[tuple[str, ...]] = ()

    run: TrainedRun
    psnr: float
    seed: int
    batch_size: int
    aim: float

    def __post_init__(self) -> None:  # noqa: B027
        """Makes what the method needs to protect and recover."""

    def target_classifiers(self) -> tuple[FrozenClassifier, ...]:
        """Returns the attacked classifiers, in evaluation mode."""
        return tuple(self.run.frozen[name] for name in self.run.targets)

    def prepare(self, images: np.ndarray, labels: np.ndarray) -> None:  # noqa: B027
        """Finds `aim` with a few of the images, given as to `protect`; most methods need not."""

    @abc.abstractmethod
    def protect(self, images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> list[Result]:
        """Protects images.

        Args:
          images: uint8 [B, H, W, 3].
          labels: int32 [B], the true classes.
          index: int32 [B], numbers of the images in their split.
        """

    def recover(
        self, images: np.ndarray, blobs: Sequence[bytes | None]
    ) -> Sequence[np.ndarray | PayloadError]:
        """Recovers originals, bit for bit.

        Args:
          images: uint8 [B, H, W, 3], protected images.
          blobs: of each the payload that was kept beside the pixels, or None.

        Returns:
          Of each the original, uint8 [H, W, 3], or the error that says why there is none.
        """
        raise NotImplementedError(f"{self.title} is not reversible")

    def estimate(self, images: np.ndarray, blobs: Sequence[bytes]) -> Sequence[np.ndarray | None]:
        """Undoes the method on protected images that were changed since.

        Args:
          images: uint8 [B, H, W, 3].
          blobs: the payload of each, kept elsewhere.

        Returns:
          Of each an image near the original, uint8 [H, W, 3], or None where there is none.
        """
        raise NotImplementedError(f"{self.title} is not reversible")


def repeatable_nonces(seed: int) -> Callable[[], bytes]:
    """Returns a source of nonces that are the same in each run.

    Args:
      seed: runs with different seeds have different nonces.
    """
    count = itertools.count()
    return lambda: hashlib.sha256(f"raeg nonce {seed} {next(count)}".encode()).digest()[:NONCE_SIZE]
