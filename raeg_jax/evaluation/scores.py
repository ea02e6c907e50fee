"""Accuracy and attack success, from what classifiers make of each image."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from raeg_jax.evaluation import programs
from raeg_jax.evaluation.programs import measure_all
from raeg_jax.networks.classifiers import LogitsFn

ORIGINAL = "original"


def correct(
    classifiers: Mapping[str, LogitsFn], images: Mapping[str, Any], labels: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """Says which images of a batch are classified correctly.

    Args:
      classifiers: pytrees (see `networks.frozen.as_pytree`) by name.
      images: uint8 [B, H, W, 3] each, by kind, such as `ORIGINAL` and 'protected'.
      labels: int32 [B], the true classes.

    Returns:
      bool [B] by kind and classifier.
    """
    return {
        (kind, name): np.asarray(classes) == labels
        for kind, batch in images.items()
        for name, classes in programs.classify(classifiers, batch).items()
    }


def scores(
    per_image: Mapping[Any, np.ndarray], classifiers: Iterable[str], kinds: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Averages over images.

    Args:
      per_image: bool [N] by kind and classifier, as `correct` has them of batches.
      classifiers: names.
      kinds: `ORIGINAL` and others.

    Returns:
      For each classifier its `accuracy` on each kind, the share of images classified correctly;
      and the `attack_success` of all kinds but `ORIGINAL`: of the images whose originals are
      classified correctly, the share that is not (None where there is no such image).
    """
    return {
        name: {
            "accuracy": {kind: mean(per_image[kind, name]) for kind in kinds},
            "attack_success": {
                kind: mean(~per_image[kind, name][per_image[ORIGINAL, name]])
                for kind in kinds
                if kind != ORIGINAL
            },
        }
        for name in classifiers
    }


def measure_kinds(
    classifiers: Mapping[str, LogitsFn],
    make: Callable[[np.ndarray, np.ndarray, np.ndarray], Mapping[str, Any]],
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    description: str = "",
) -> tuple[dict[str, Any], dict[Any, np.ndarray]]:
    """Classifies images of several kinds, and compares them with their originals.

    Args:
      classifiers: pytrees by name.
      make: from numbers, originals and labels of a batch, as `measure_all` gives them, to images
        uint8 [B, H, W, 3] by kind.
      images: the originals, uint8 [N, H, W, 3].
      labels: int [N].
      batch_size: images at a time.
      description: of a progress bar; no bar where empty.

    Returns:
      `classifiers`, the scores on `ORIGINAL` and all kinds; and by kind mean `psnr` (decibels, of
      the images that differ), `ssim` and `exact` (share of images equal to their originals). And
      the arrays [N] that these are means of, by (kind, classifier) and by ('psnr', kind), ...
    """
    kinds: dict[str, None] = {}
    measures = ("psnr", "ssim", "exact")

    def measure(index, originals, truth):
        made = make(index, originals, truth)
        kinds.update(dict.fromkeys(made))
        rows: dict[Any, Any] = correct(classifiers, {ORIGINAL: originals, **made}, truth)
        for kind, batch in made.items():
            compared = programs.compare(batch, originals)
            rows |= {(key, kind): compared[key] for key in measures}
        return rows

    per_image = measure_all(measure, images, labels, batch_size, description)
    result: dict[str, Any] = {
        key: {kind: mean(per_image[key, kind]) for kind in kinds} for key in measures
    }
    result["classifiers"] = scores(per_image, classifiers, (ORIGINAL, *kinds))
    return result, per_image


def mean_score(
    classifiers: Mapping[str, Mapping[str, Any]],
    score: str,
    kind: str,
    targets: Sequence[str],
    held_out: bool = False,
) -> float | None:
    """The mean of a score over the targets, or over the held-out classifiers.

    Args:
      classifiers: what `scores` returns.
      score: 'accuracy' or 'attack_success'.
      kind: of images.
      targets: names of the attacked classifiers.
      held_out: take the others.

    Returns:
      None where no classifier has that score.
    """
    values = [
        one[score][kind]
        for name, one in classifiers.items()
        if (name not in targets) == held_out and one[score].get(kind) is not None
    ]
    return statistics.fmean(values) if values else None


def mean(values: np.ndarray) -> float | None:
    """The mean of the finite values in float64; None without any: JSON can't hold NaN."""
    values = values[np.isfinite(values)]
    return float(np.mean(values, dtype=np.float64)) if len(values) else None
