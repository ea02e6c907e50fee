"""Accuracy left against PSNR: how a way to protect compares with noise and PGD as changes grow."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from raeg_jax.evaluation.compiled import LogitsFn
from raeg_jax.evaluation.protection import evaluate_split
from raeg_jax.invertible.chain import Chain


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
      pgd_steps: steps of the PGD control; 0 leaves out both controls.
      seed: of the noise.

    Returns:
      One row for each PSNR and for generator, noise and PGD: `method`, `asked` (decibels), `psnr`
      (mean, decibels, of the files that differ from their originals; None where none does),
      `worst_miss` (largest distance of an image from the asked PSNR, decibels; None where an image
      is unchanged, which is infinitely far), `accuracy` by classifier, `targets` (mean accuracy
      over the targets), `held_out` (over the others; None where there are none), `outside_range`,
      `exact_images`, and `rounds` of a gradient stage. The controls have none of the last three.
    """
    rows = []
    for asked in psnrs:
        summary = evaluate_split(
            make(asked),
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
                }
            )
        rows[-len(variants)] |= {
            "outside_range": summary["outside_range"],
            "exact_images": summary["quality"]["recovered"]["exact_images"],
            "rounds": summary["rounds"],
        }
    return rows


def gap(rows: Sequence[Mapping[str, Any]], method: str, control: str) -> list[dict[str, Any]]:
    """How many decibels a method is behind a control at equal accuracy of the targets.

    Args:
      rows: of `curve`, of one set of images.
      method: a name in the rows.
      control: another.

    Returns:
      For each row of the method that has a PSNR: `psnr`, `targets`, `gap`, the PSNR at which the
      control leaves the same accuracy (interpolated) minus `psnr`, and `beyond`. Where the
      method's accuracy is 'below' or 'above' all of the control's, `beyond` says which and `gap`
      is None; elsewhere `beyond` is. Nothing at all where the control has no row with a PSNR.
    """
    rows = [row for row in rows if row["psnr"] is not None]
    points = sorted((r["psnr"], r["targets"]) for r in rows if r["method"] == control)
    if not points:
        return []
    psnrs, left = np.array(points).T
    # Accuracy grows with PSNR; measured curves may have small dips.
    left = np.maximum.accumulate(left)
    gaps = []
    for row in rows:
        if row["method"] != method:
            continue
        found, beyond = None, None
        if row["targets"] < left[0]:
            beyond = "below"
        elif row["targets"] > left[-1]:
            beyond = "above"
        else:
            found = float(np.interp(row["targets"], left, psnrs)) - row["psnr"]
        gaps.append({k: row[k] for k in ("psnr", "targets")} | {"gap": found, "beyond": beyond})
    return gaps
