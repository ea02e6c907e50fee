"""Methods without a way back: PGD shows what attacks reach, noise what any such change does."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from raeg_jax.evaluation import programs
from raeg_jax.evaluation.programs import batches
from raeg_jax.methods.method import Method, Result


class Noise(Method):
    """Adds Gaussian noise of the L2 norm that the PSNR allows, after rounding and clipping."""

    title = "noise"
    randomised = True

    def protect(self, images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> list[Result]:
        norms = _change_norms(self.psnr, images)
        return _results(programs.noise_control(self.seed, index, images, norms))


class PGD(Method):
    """Projected gradient descent within the L2 norm that the PSNR allows.

    Rounding and clipping leave files a little nearer or farther.
    """

    title = "PGD"
    settings: ClassVar = ("steps", "loss", "momentum", "crop_share")

    def protect(self, images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> list[Result]:
        settings = {name: self.run.config.comparison[name] for name in self.settings}
        settings["features"] = settings.pop("loss") == "features"
        targets, results = self.target_classifiers(), []
        for _, batch, truth, count in batches(images, labels, self.batch_size):
            norms = _change_norms(self.psnr, batch)
            labels_of_batch = programs.labels_of_attack(targets, batch, truth)
            attacked = programs.pgd_control(targets, batch, labels_of_batch, norms, **settings)
            results += _results(attacked[:count])
        return results


def _change_norms(psnr, images):
    """L2 norm, in pixel units, of a change of this PSNR in decibels, once for each image: [B]."""
    norm = 255 / 10 ** (psnr / 20) * float(np.prod(images.shape[1:])) ** 0.5
    return jnp.full(len(images), norm)


def _results(images):
    return [Result("", image, image, image) for image in np.asarray(images)]
