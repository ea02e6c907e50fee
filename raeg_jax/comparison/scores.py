"""Shares misled, over several classifiers."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def misled(
    result: Mapping[str, Any], kind: str, targets: Sequence[str], held_out: bool
) -> float | None:
    """Of the images that a classifier read rightly the share misread: mean over classifiers.

    Args:
      result: of a unit, with `classifiers`.
      kind: of images.
      targets: names of the attacked ones.
      held_out: take the others.

    Returns:
      None where nothing was read.
    """
    found = [
        own["success"][kind]
        for name, own in result["classifiers"].items()
        if (name not in targets) == held_out and own["success"].get(kind) is not None
    ]
    return statistics.fmean(found) if found else None
