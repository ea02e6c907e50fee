"""Accuracy left against PSNR: how a way to protect compares with noise and PGD as changes grow."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from raeg_jax.evaluation.compiled import LogitsFn
from raeg_jax.evaluation.making import Pixels
from raeg_jax.evaluation.protection import evaluate_split
from raeg_jax.generator.chain import Chain


def curve(
    make: Callable[[float], Chain],
    psnrs: Sequence[float],
    classifiers: Mapping[str, LogitsFn],
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int,
    *,
    name: str,
    targets: Sequence[str],
    held_out: Sequence[str],
    pgd_steps: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Evaluates a generator at several PSNRs, and the controls at the same distances.

    Args:
      make: from a PSNR in decibels to the generator that aims at it.
      psnrs: in decibels.
      classifiers: logits functions by name, in evaluation mode.
      images: uint8 [N, H, W, 3].
      labels: int [N].
      batch_size: images at a time.
      name: of the generator, as the rows have it.
      targets: names of the classifiers attacked.
      held_out: names of the others.
      pgd_steps: steps of the PGD control; 0 leaves both controls out of the rows.
      seed: of the noise.

    Returns:
      One row for each PSNR and for generator, noise and PGD: `method`, `asked` (decibels), `psnr`
      (mean, decibels, of the files that differ from their originals; None where none does),
      `worst_miss` (largest distance of an image from the asked PSNR, decibels; None where an image
      is unchanged, which is infinitely far), `accuracy` by classifier, `targets` (mean accuracy
      over the targets), `held_out` (over the others; None where there are none), `outside_range`,
      `exact_images`, and `rounds` of the last stage that isn't learned. The controls have none of
      the last three. `right` lists for each image by how many targets it is read rightly.
    """
    rows = []
    for asked in psnrs:
        summary = evaluate_split(
            Pixels(make(asked)),
            classifiers,
            images,
            labels,
            batch_size,
            targets=targets,
            held_out=held_out,
            pgd_steps=pgd_steps,
            seed=seed,
            description=f"{name} at {asked:g} dB",
        )
        variants = {"protected": name}
        if pgd_steps:
            variants |= {"noise": "noise", "pgd": f"PGD-{pgd_steps}"}
        for variant, method in variants.items():
            accuracy = {k: v["accuracy"][variant] for k, v in summary["classifiers"].items()}
            worst = float(np.max(np.abs(summary["per_image"][f"psnr/{variant}"] - asked)))
            rows.append(
                {
                    "method": method,
                    "asked": asked,
                    "psnr": summary["quality"][variant]["psnr"],
                    "worst_miss": worst if np.isfinite(worst) else None,
                    "targets": float(np.mean([accuracy[k] for k in targets])),
                    "held_out": float(np.mean([accuracy[k] for k in held_out]))
                    if held_out
                    else None,
                    "accuracy": accuracy,
                    "right": _right(summary["per_image"], targets, variant, labels),
                }
            )
        rows[-len(variants)] |= {
            "outside_range": summary["outside_range"],
            "exact_images": summary["quality"]["recovered"]["exact_images"],
            "rounds": summary["rounds"],
        }
    return rows


def gap(
    rows: Sequence[Mapping[str, Any]], method: str, control: str, resamples: int = 1000
) -> list[dict[str, Any]]:
    """How many decibels a method is behind a control at equal accuracy of the targets.

    Args:
      rows: of `curve`, of one set of images.
      method: a name in the rows.
      control: another.
      resamples: drawings of as many images, with replacement, for the interval; 0 leaves it out.

    Returns:
      For each row of the method that has a PSNR: `psnr`, `targets`, `gap`, the PSNR at which the
      control leaves the same accuracy (interpolated; of several the nearest) minus `psnr`, and
      `beyond`. Where the method's accuracy is 'below' or 'above' all of the control's, `beyond`
      says which and `gap` is None; elsewhere `beyond` is. `interval` has the 5th and the 95th
      percentile of the gap over the resamples (bootstrap), in which the ends of the control's curve
      stand for what lies beyond. Nothing at all where the control has no row with a PSNR.
    """
    rows = [row for row in rows if row["psnr"] is not None]
    controls = sorted((r for r in rows if r["method"] == control), key=lambda r: r["psnr"])
    if not controls:
        return []
    psnrs = np.array([row["psnr"] for row in controls])
    gaps = []
    for row in (row for row in rows if row["method"] == method):
        found, beyond = _behind(
            row["targets"], row["psnr"], [r["targets"] for r in controls], psnrs
        )
        entry = {k: row[k] for k in ("psnr", "targets")}
        entry |= {"gap": None if beyond else found, "beyond": beyond}
        if resamples:
            # The same images are drawn for the method and for all points of the control.
            right = np.array([r["right"] for r in (row, *controls)], np.float64)
            drawn = np.random.RandomState(0).randint(0, right.shape[1], (resamples, right.shape[1]))
            left = right[:, drawn].mean(-1)
            each = [_behind(own, row["psnr"], others, psnrs)[0] for own, *others in left.T]
            entry["interval"] = [float(p) for p in np.percentile(each, (5, 95))]
        gaps.append(entry)
    return gaps


def _behind(own, psnr, left, psnrs) -> tuple[float, str | None]:
    """The gap of one point, up to the nearest end of the control's curve, and beyond which."""
    # Accuracy grows with PSNR; measured curves may have small dips.
    left = np.maximum.accumulate(left)
    if own < left[0]:
        return float(psnrs[0] - psnr), "below"
    if own > left[-1]:
        return float(psnrs[-1] - psnr), "above"
    if len(equal := psnrs[left == own]):
        return float(np.clip(psnr, equal[0], equal[-1]) - psnr), None
    return float(np.interp(own, left, psnrs) - psnr), None


def _right(per_image, targets, variant, labels) -> list[int]:
    read = [per_image[f"read/{name}/{variant}"] == labels for name in targets]
    return np.sum(read, axis=0).tolist()
