"""Reversible transforms of an original into an adversarial image, and their ids in payloads.

RAE and RIT attack an image, transform the original into what the attack found, or nearly, and hide
what the inverse needs in the result. This module doesn't import JAX: `raeg inspect` uses it.
"""

import abc
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from raeg_jax.payload.payload import GENERATOR_ID_SIZE

if TYPE_CHECKING:
    from raeg_jax.config.rules import Rule

NAMES = ("rae", "rit")


class Transformed(NamedTuple):
    """An original that a transform made adversarial, without a payload.

    Attributes:
      adversarial: uint8 [H, W, 3], what the attack found, as far as the transform can use it.
      values: int32 [H, W, 3], the image that is to carry the payload; may exceed 0..255.
      auxiliary: what the inverse needs beside the values.
    """

    adversarial: np.ndarray
    values: np.ndarray
    auxiliary: bytes


class Transform(abc.ABC):
    """A reversible transform; subclasses are frozen dataclasses of its settings.

    Attributes:
      name: 'rae' or 'rit'.
      rules: legal values of the settings, by name.
      sides: of superpixels or blocks, in pixels, 1 to 255, in the order in which they are tried.
      aware: whether the attack knows that a change keeps little but its mean over each superpixel
        or block (`superpixels.OnSuperpixels`).
    """

    name: ClassVar[str]
    rules: ClassVar[Mapping[str, "Rule"]]
    sides: tuple[int, ...]
    aware: bool

    @abc.abstractmethod
    def apply(self, original: np.ndarray, attacked: np.ndarray, side: int) -> Transformed:
        """Transforms an original into what the attack found, or nearly.

        Args:
          original: uint8 [H, W, 3].
          attacked: float32 [H, W, 3], in pixel units, within 0..255.
          side: one of `sides`.
        """

    @staticmethod
    @abc.abstractmethod
    def invert(values: np.ndarray, auxiliary: bytes) -> np.ndarray:
        """Undoes `apply`; all settings that it needs are in the auxiliary data.

        Args:
          values: int32 [H, W, 3], of `Transformed`.
          auxiliary: of `Transformed`.

        Returns:
          int64 [H, W, 3], the original unless arguments were changed.

        Raises:
          ValueError: the auxiliary data make no sense with these values.
          IndexError: the auxiliary data end early.
        """


def transform_id(name: str) -> bytes:
    """Returns the 8 bytes that a transform's payloads have in place of a generator's id."""
    return hashlib.sha256(f"raeg baseline {name} 1".encode()).digest()[:GENERATOR_ID_SIZE]


def name_of(generator_id: bytes) -> str | None:
    """Returns the name of the transform with this id, or None."""
    return next((name for name in NAMES if transform_id(name) == generator_id), None)
