"""What the compared methods have in common: an attack, and a change that can be undone."""

from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from raeg_jax.attacks.gradient import LogitsFn
from raeg_jax.errors import UserError


class Disguised(NamedTuple):
    """An original that has become an adversarial image, not yet marked.

    Attributes:
      adversarial: uint8 [H, W, 3], what the attack found, as the method can use it.
      values: int32 [H, W, 3], the image that carries the payload; some perhaps outside 0..255.
      auxiliary: what `reveal` needs beside the values.
    """

    adversarial: np.ndarray
    values: np.ndarray
    auxiliary: bytes


class Method(Protocol):
    """How an image is protected, for one size of superpixels or blocks after the other.

    Attributes:
      name: short, in small letters.
      sides: of superpixels or blocks, in pixels, in the order in which they are tried.
    """

    name: str
    sides: tuple[int, ...]

    def seen_by(self, logits_fn: LogitsFn, images: jax.Array, side: int) -> LogitsFn:
        """What the attack should attack in place of a classifier, see `OnSuperpixels`."""

    def disguise(self, original: np.ndarray, attacked: np.ndarray, side: int) -> Disguised:
        """Turns an original into what the attack found, or nearly.

        Args:
          original: uint8 [H, W, 3].
          attacked: float32 [H, W, 3], in pixel units, within 0..255.
          side: one of `sides`.
        """

    @staticmethod
    def reveal(values: np.ndarray, auxiliary: bytes) -> np.ndarray:
        """Undoes `disguise`: int64 [H, W, 3], the original unless something was changed.

        Raises:
          ValueError: the auxiliary data make no sense with these values.
          IndexError: they end early.
        """


def check_sides(sides: tuple[int, ...]) -> None:
    """Refuses sides that can't be meant, or that a byte can't hold.

    Raises:
      UserError: names the wrong one.
    """
    if not isinstance(sides, tuple) or not sides:
        raise UserError(f"sides={sides!r} is impossible: write a tuple of at least one, in pixels")
    if wrong := [side for side in sides if not is_byte(side, 1)]:
        raise UserError(f"sides={sides} is impossible: {wrong[0]!r} is not in 1 to 255 pixels")


def is_byte(value: Any, least: int) -> bool:
    """Whether a setting is a whole number from `least` to 255."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= 255
