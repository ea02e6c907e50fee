"""Accuracy, attack success and closed-set accuracy, from what classifiers make of each image.

A classifier with other classes than the data set's, such as a published one, is right about an
image where it reads it as its original: its accuracy is the share of *readings kept*. Closed-set
accuracy is of the best of the data set's classes, where these are among the classifier's.
"""

import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from raeg_jax.evaluation import programs
from raeg_jax.evaluation.programs import measure_all
from raeg_jax.evaluation.readers import Reader, Reading
from raeg_jax.networks.classifiers import LogitsFn

ORIGINAL = "original"
# In the names of arrays and results.
CLOSED_SET = "closed_set"


def read(classifiers: Mapping[str, LogitsFn | Reader], images: np.ndarray) -> dict[str, Reading]:
    """Reads a batch of images uint8 [B, H, W, 3] with each classifier.

    Args:
      classifiers: of the data set's classes as pytrees (see `classifiers.as_pytree`), others as
        readers, by name.
      images: of one size.
    """
    own = {name: one for name, one in classifiers.items() if not isinstance(one, Reader)}
    classes = programs.classify(own, images) if own else {}
    pixels = np.asarray(images)
    return {
        name: one.read(pixels) if isinstance(one, Reader) else Reading(np.asarray(classes[name]))
        for name, one in classifiers.items()
    }


def correct(
    classifiers: Mapping[str, LogitsFn | Reader], images: Mapping[str, Any], labels: np.ndarray
) -> dict[tuple[str, ...], np.ndarray]:
    """Says which images of a batch are classified correctly.

    Args:
      classifiers: as for `read`.
      images: uint8 [B, H, W, 3] each, by kind, such as 'protected'; `ORIGINAL` is among them where
        there are readers.
      labels: int32 [B], the true classes.

    Returns:
      As `correct_readings`.
    """
    readings = {kind: read(classifiers, batch) for kind, batch in images.items()}
    return correct_readings(readings, labels)


def correct_readings(
    readings: Mapping[str, Mapping[str, Reading]], labels: np.ndarray
) -> dict[tuple[str, ...], np.ndarray]:
    """Says which images are classified correctly.

    Args:
      readings: by kind of images and classifier; `ORIGINAL` is among the kinds where there are
        classifiers of other classes than the data set's.
      labels: int [N], the true classes.

    Returns:
      bool [N] by kind and classifier; and by kind, classifier and `CLOSED_SET`, where the data
      set's classes are among the classifier's.
    """
    found: dict[tuple[str, ...], np.ndarray] = {}
    for kind, by_name in readings.items():
        for name, reading in by_name.items():
            truth = labels if reading.of_data else readings[ORIGINAL][name].classes
            found[kind, name] = reading.classes == truth
            if reading.closed_set is not None:
                found[kind, name, CLOSED_SET] = reading.closed_set == labels
    return found


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
      the `attack_success` of all kinds but `ORIGINAL`: of the images whose originals are
      classified correctly, the share that is not (None where there is no such image); and
      `closed_set`, that accuracy on each kind, where `per_image` has it.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in classifiers:
        found[name] = {
            "accuracy": {kind: mean(per_image[kind, name]) for kind in kinds},
            "attack_success": {
                kind: mean(~per_image[kind, name][per_image[ORIGINAL, name]])
                for kind in kinds
                if kind != ORIGINAL
            },
        }
        if (ORIGINAL, name, CLOSED_SET) in per_image:
            found[name][CLOSED_SET] = {k: mean(per_image[k, name, CLOSED_SET]) for k in kinds}
    return found


def measure_kinds(
    classifiers: Mapping[str, LogitsFn | Reader],
    make: Callable[[np.ndarray, np.ndarray, np.ndarray], Mapping[str, Any]],
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    description: str = "",
) -> tuple[dict[str, Any], dict[Any, np.ndarray]]:
    """Classifies images of several kinds, and compares them with their originals.

    Args:
      classifiers: as for `read`.
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
    names: Collection[str],
) -> float | None:
    """The mean of a score over some classifiers.

    Args:
      classifiers: what `scores` returns.
      score: 'accuracy' or 'attack_success'.
      kind: of images.
      names: of these classifiers, such as the targets; others than those in `classifiers` don't
        count.

    Returns:
      None where no classifier has that score.
    """
    values = [
        one[score][kind]
        for name, one in classifiers.items()
        if name in names and one[score].get(kind) is not None
    ]
    return statistics.fmean(values) if values else None


def mean(values: np.ndarray) -> float | None:
    """The mean of the finite values in float64; None without any: JSON can't hold NaN."""
    values = values[np.isfinite(values)]
    return float(np.mean(values, dtype=np.float64)) if len(values) else None
