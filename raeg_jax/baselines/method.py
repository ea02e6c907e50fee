"""What the compared methods have in common: an attack, and a change that can be undone."""

import hashlib
from typing import NamedTuple, Protocol

import jax
import numpy as np

from raeg_jax.attacks.gradient import LogitsFn
from raeg_jax.codec.payload import GENERATOR_ID_SIZE
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
    if not sides:
        raise UserError("sides=() is impossible: name at least one, in pixels")
    if wrong := [side for side in sides if side not in range(1, 256)]:
        raise UserError(f"sides={sides} is impossible: {wrong[0]!r} is not in 1 to 255 pixels")


def method_id(name: str) -> bytes:
    """What a payload has in place of a generator's id: 8 bytes.

    All settings that recovery depends on are in the auxiliary data.
    """
    return hashlib.sha256(f"raeg baseline {name} 1".encode()).digest()[:GENERATOR_ID_SIZE]
