"""What cannot be undone: PGD, which has the least to do, and noise, which attacks nobody."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from raeg_jax.comparison.contender import Made
from raeg_jax.evaluation import controls
from raeg_jax.protection import tiles


def length_of(psnr: float, shape: Sequence[int]) -> float:
    """L2 norm of a change, in pixel units.

    Args:
      psnr: in decibels.
      shape: of the image.
    """
    return 255 / 10 ** (psnr / 20) * float(np.prod(shape)) ** 0.5


class Noise:
    """Gaussian noise of the length that the PSNR allows.

    Args:
      psnr: in decibels.
      seed: of the noise.
    """

    def __init__(self, psnr: float, seed: int):
        self.aim, self._seed = psnr, seed

    def prepare(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Has nothing to do."""

    def protect(self, images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> list[Made]:
        """Adds noise, counted after rounding and clipping."""
        lengths = jnp.full(len(images), length_of(self.aim, images.shape[1:]))
        return _made(controls.noise_control(self._seed, index, images, lengths))


class PGD:
    """Projected gradient descent within the length that the PSNR allows.

    Args:
      logits_fns: the classifiers attacked together.
      psnr: in decibels; rounding and clipping leave files a little nearer or farther.
      steps: of the descent.
      batch_size: images at a time.
    """

    def __init__(self, logits_fns: Sequence, psnr: float, steps: int, batch_size: int):
        self._logits_fns, self.aim, self._steps = tuple(logits_fns), psnr, steps
        self._batch_size = batch_size

    def prepare(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Has nothing to do."""

    def protect(self, images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> list[Made]:
        """Attacks."""
        found = []
        for start in range(0, len(images), self._batch_size):
            batch = slice(start, start + self._batch_size)
            # One size for all batches, so that nothing is compiled anew.
            some = tiles.pad_batch(images[batch], self._batch_size)
            lengths = jnp.full(len(some), length_of(self.aim, images.shape[1:]))
            told = tiles.pad_batch(labels[batch], self._batch_size)
            attacked = controls.pgd_control(self._logits_fns, some, told, lengths, self._steps)
            found += list(np.asarray(attacked)[: len(labels[batch])])
        return _made(found)


def _made(images) -> list[Made]:
    return [Made("", one, one, one) for one in map(np.asarray, images)]
