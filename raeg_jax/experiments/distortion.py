"""What recovery gives after the protected file was distorted."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from raeg_jax.adversarial.distortions import DEFENCES
from raeg_jax.evaluation import compiled
from raeg_jax.evaluation.batches import measure_all
from raeg_jax.experiments.scores import mean, right, scores
from raeg_jax.experiments.store import Unit
from raeg_jax.experiments.subject import Subject

_SPLIT = "test"


def units(subject: Subject) -> Iterator[Unit]:
    """A unit for each distortion."""
    cost = len(subject.originals(_SPLIT)[1]) * 0.3
    depends = {"images": subject.config.suite.images}
    for name in DEFENCES:
        yield Unit(f"distortion/{name}", cost, lambda name=name: measure(subject, name), depends)


def measure(subject: Subject, name: str) -> dict[str, Any]:
    """Distorts protected files, then runs the generator backward with the right token and code.

    Returns:
      `distortion`; mean `psnr` (decibels, of the images that differ) and `ssim` of what comes back
      against the original, and `psnr_distorted`, `ssim_distorted` against the equally distorted
      original; `exact`, the share of images equal to their originals; `classifiers`, the scores
      on originals and on what comes back.
    """
    distort = DEFENCES[name]
    images, labels = subject.originals(_SPLIT)
    made = subject.protected(_SPLIT)

    def look(index, originals, truth):
        code = subject.code_of(made, index)
        back = subject.recover(index, np.asarray(distort(made.images[index])), code)
        found = compiled.compare(back, originals)
        distorted = compiled.compare(back, np.asarray(distort(originals)))
        rows = {key: found[key] for key in ("psnr", "ssim", "exact")}
        rows |= {f"{key}_distorted": distorted[key] for key in ("psnr", "ssim")}
        shown = {"original": originals, "recovered": back}
        return rows | right(subject.frozen, shown, truth)

    each = measure_all(look, images, labels, subject.batch_size(_SPLIT))

    keys = ("psnr", "ssim", "psnr_distorted", "ssim_distorted", "exact")
    return {
        "distortion": name,
        **{key: mean(each[key]) for key in keys},
        "classifiers": scores(each, subject.frozen, ("original", "recovered")),
    }
