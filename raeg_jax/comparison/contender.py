"""What is compared: ways to make protected images, and for some of them to undo it."""

import hashlib
import itertools
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from raeg_jax.payload.errors import PayloadError
from raeg_jax.payload.payload import NONCE_SIZE


class Made(NamedTuple):
    """What became of an image.

    Attributes:
      failure: why there is no file; empty where there is one.
      adversarial: uint8 [H, W, 3], what the attack found.
      unmarked: uint8 [H, W, 3], what the payload was to be hidden in.
      file: uint8 [H, W, 3], the protected image; None where it failed.
      blob: the payload; empty where there is none.
      in_pixels: whether the file has the payload in its pixels.
    """

    failure: str
    adversarial: np.ndarray
    unmarked: np.ndarray
    file: np.ndarray | None
    blob: bytes = b""
    in_pixels: bool = False


class Contender(Protocol):
    """A way to change images by a given distance, against given classifiers.

    Attributes:
      aim: at which PSNR, in decibels, so that files have the one asked for; recovery may need it.
    """

    aim: float

    def prepare(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Gets ready with some of the images, as `protect` takes them."""

    def protect(self, images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> list[Made]:
        """Changes images.

        Args:
          images: uint8 [B, H, W, 3].
          labels: int32 [B], the true classes.
          index: int32 [B], numbers of the images.
        """


class Reversible(Contender, Protocol):
    """One that can be undone."""

    def recover(
        self, images: np.ndarray, blobs: list[bytes | None]
    ) -> list[np.ndarray | PayloadError]:
        """Originals, bit for bit, or why there are none; blobs are kept beside the pixels."""

    def estimate(self, images: np.ndarray, blobs: list[bytes]) -> list[np.ndarray | None]:
        """What changed files give whose payloads were kept: near the originals, or nothing."""


def nonces_of(seed: int) -> Callable[[], bytes]:
    """Draws of nonces that are the same in each run."""
    count = itertools.count()
    return lambda: hashlib.sha256(f"raeg nonce {seed} {next(count)}".encode()).digest()[:NONCE_SIZE]
