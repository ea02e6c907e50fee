"""The numbers of a split, from one value an image."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from raeg_jax.evaluation.scores import ORIGINAL, mean, scores

# In the order of the table's columns, then those without a column.
VARIANTS = (
    *(ORIGINAL, "after_learned", "after_shortcut"),
    *("protected", "recovered", "wrong_token", "noise", "pgd", "pixels_alone"),
)
# A generator that converged leaves .1 to .3 % of the samples outside 0..255 (docs/measured.md), and
# misses its PSNR by less than 1 dB.
_MOST_OUTSIDE = 0.1
_MOST_MISSED = 10.0


def divergence(psnr: float | None, outside_range: float, target_psnr: float) -> str | None:
    """Says whether a learned generator has diverged, from what it does to images.

    An integer generator recovers every sample whatever its weights are, so nothing else fails.

    Args:
      psnr: mean over protected images, in dB; None where all equal their originals.
      outside_range: share of the samples outside 0..255, after rounding and before clipping.
      target_psnr: that the generator was trained for (`config.loss.target_psnr`).

    Returns:
      One sentence with these numbers and the way out; None for a generator that has not diverged.
    """
    far = psnr is not None and psnr < target_psnr - _MOST_MISSED
    if not far and outside_range <= _MOST_OUTSIDE:
        return None
    quality = "equal their originals" if psnr is None else f"have {psnr:.1f} dB"
    return (
        f"the learned generator has diverged: protected images {quality} "
        f"(config.loss.target_psnr is {target_psnr:g}), and {outside_range:.0%} of their samples "
        "are outside 0..255, so `raeg protect` can hardly protect a file with it; train it again "
        "with a lower config.optimizer.learning_rate"
    )


def divergence_of(summary: Mapping[str, Any], config: ConfigDict) -> str | None:
    """As `divergence`, of what `summarise` returns; None for stages with a PSNR of their own."""
    if tuple(config.generator.stages) != ("learned",):
        return None
    psnr = summary["quality"]["protected"]["psnr"]
    return divergence(psnr, summary["outside_range"], config.loss.target_psnr)


def summarise(
    per_image: Mapping[str, np.ndarray], labels: np.ndarray, roles: Mapping[str, str]
) -> dict[str, Any]:
    """Averages over images.

    Args:
      per_image: arrays [N] named 'read/<classifier>/<variant>' (class numbers),
        'psnr/<variant>' (decibels), 'ssim/<variant>', 'equal/<variant>' (share of equal
        pixels), 'exact/<variant>' (bool), 'bytes/<variant>', 'outside', and what else
        `protectors.ProtectedBatch` has. Variants that are missing are left out.
      labels: int [N], the true classes.
      roles: 'target' or 'held_out' for each classifier.

    Returns:
      images: N.
      classifiers: for each, its `role`; `accuracy` on each variant; and `attack_success` of each
        changed variant: of the images read correctly before, the share misread after (None
        where none was read correctly).
      quality: for each changed variant `psnr`, the mean over the images that differ from their
        originals (an equal image has none), None where all are equal; `psnr_range`, the least and
        the most of these; `ssim`; `exact_pixels`, the share of pixels with all three samples
        equal; `exact_images`, the share of images equal throughout.
      outside_range: share of samples that are outside 0..255 after rounding, before clipping.
      rounds: mean and most rounds of the last shortcut or gradient stage; None without one.
      png_bytes: mean size of the files of the original and of the protected images.
      payload: of how many images it lies `in_pixels`, and `beside_pixels`; its mean `bytes`. None
        where files have none.
    """
    variants = [name for name in VARIANTS if f"bytes/{name}" in per_image]
    changed = variants[1:]
    correct = {
        (variant, name): per_image[f"read/{name}/{variant}"] == labels
        for variant in variants
        for name in roles
    }
    accuracies = scores(correct, roles, variants)
    return {
        "images": len(labels),
        "classifiers": {name: {"role": roles[name], **own} for name, own in accuracies.items()},
        "quality": {name: _quality(per_image, name) for name in changed},
        "outside_range": mean(per_image["outside"]),
        "rounds": _rounds(per_image),
        "png_bytes": {name: mean(per_image[f"bytes/{name}"]) for name in ("original", "protected")},
        "payload": _payload(per_image),
    }


def _quality(per_image, variant: str) -> dict[str, Any]:
    psnr = per_image[f"psnr/{variant}"]
    psnr = psnr[np.isfinite(psnr)]
    return {
        "psnr": mean(psnr),
        "psnr_range": [float(psnr.min()), float(psnr.max())] if len(psnr) else None,
        "ssim": mean(per_image[f"ssim/{variant}"]),
        "exact_pixels": mean(per_image[f"equal/{variant}"]),
        "exact_images": mean(per_image[f"exact/{variant}"]),
    }


def _rounds(per_image) -> dict[str, Any] | None:
    if "code/rounds" not in per_image:
        return None
    rounds = per_image["code/rounds"]
    return {"mean": mean(rounds), "most": int(rounds.max())}


def _payload(per_image) -> dict[str, Any] | None:
    if "payload/bytes" not in per_image:
        return None
    hidden = per_image["payload/in_pixels"]
    return {
        "in_pixels": int(hidden.sum()),
        "beside_pixels": int((~hidden).sum()),
        "bytes": mean(per_image["payload/bytes"]),
    }
