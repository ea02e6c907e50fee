"""From what classifiers read on each image to accuracy and attack success."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from raeg_jax.evaluation import compiled

BEFORE = "original"


def right(
    classifiers: Mapping[str, compiled.LogitsFn], shown: Mapping[str, Any], labels: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """Whether each image of a batch is read rightly.

    Args:
      classifiers: by name.
      shown: kinds of images by name, uint8 [B, H, W, 3] each.
      labels: int32 [B].

    Returns:
      bool [B] by kind and classifier.
    """
    return {
        (kind, name): np.asarray(found) == labels
        for kind, images in shown.items()
        for name, found in compiled.read(classifiers, images).items()
    }


def scores(
    each: Mapping[Any, np.ndarray], classifiers: Iterable[str], kinds: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Averages over images.

    Args:
      each: bool [N] by kind and classifier, as `right` has them of batches.
      classifiers: names.
      kinds: `BEFORE`, and others.

    Returns:
      For each classifier its `accuracy` on each kind, and its `success` on all but the first: of
      the images read rightly before, the share misread after (None where none was read rightly).
    """
    return {
        name: {
            "accuracy": {kind: mean(each[kind, name]) for kind in kinds},
            "success": {
                kind: mean(~each[kind, name][each[BEFORE, name]])
                for kind in kinds
                if kind != BEFORE
            },
        }
        for name in classifiers
    }


def mean(values: np.ndarray) -> float | None:
    """Of the finite values, in float64; None of nothing."""
    values = values[np.isfinite(values)]
    return float(np.mean(values, dtype=np.float64)) if len(values) else None
