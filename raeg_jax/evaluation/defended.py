"""What is left of a way to protect once its files were defended, for each classifier."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from raeg_jax.adversarial.distortions import DEFENCES, Defence
from raeg_jax.data.memory import DecodedOnDemand
from raeg_jax.evaluation import compiled
from raeg_jax.evaluation.batches import measure_all
from raeg_jax.evaluation.roundtrip import png_roundtrip
from raeg_jax.networks.classifiers import as_pytree

# (numbers of the images int32 [B], images uint8 [B, H, W, 3], labels int32 [B]) -> uint8, as images
Protect = Callable[[np.ndarray, np.ndarray, np.ndarray], Any]


def evaluate_defended(
    protect: Protect,
    classifiers: Mapping[str, compiled.LogitsFn],
    images: np.ndarray | DecodedOnDemand,
    labels: np.ndarray,
    goals: np.ndarray,
    batch_size: int,
    *,
    defences: Mapping[str, Defence] = DEFENCES,
    description: str = "evaluating",
) -> dict[str, Any]:
    """Protects every image, writes it as PNG, reads it back, and classifies it after each defence.

    Args:
      protect: makes protected images of originals.
      classifiers: logits functions by name, in evaluation mode.
      images: uint8 [N, H, W, 3], the originals; looked at batch by batch.
      labels: int [N], the true classes.
      goals: int [N], the class that a targeted attack wants each image to be read as.
      batch_size: images at a time; a batch that is not full is padded, not compiled anew.
      defences: by name.
      description: what the progress bar says.

    Returns:
      accuracy: share of images read as their true class, by defence and then by classifier.
      hits: share of images read as their goal, likewise.
      psnr: mean over the images that were changed, in decibels, before any defence; None if none
        was changed.
      per_image: float32 [N] `psnr` (decibels, infinite for equal images) and `distance` (L2 norm of
        the change, in pixel units).

    Raises:
      ValueError: no images, not as many labels and goals, or a batch size below one.
    """
    if len(goals) != len(labels):
        raise ValueError(f"need as many goals as labels, got {len(goals)} and {len(labels)}")
    fns = {k: compiled.on_one_device(as_pytree(fn)) for k, fn in classifiers.items()}

    def measure(index, originals, truth):
        files, _ = png_roundtrip(protect(index, originals, truth))
        measured = compiled.compare(files, originals)
        row = {name: measured[name] for name in ("psnr", "distance")}
        for defence, defend in defences.items():
            read = compiled.read(fns, defend(files))
            row |= {(defence, name): classes for name, classes in read.items()}
        return row

    per_image = measure_all(measure, images, labels, batch_size, description)

    def share(classes):
        """Of the images that are read as given, by defence and classifier."""
        return {
            defence: {name: float(np.mean(per_image[defence, name] == classes)) for name in fns}
            for defence in defences
        }

    psnr = per_image["psnr"]
    changed = psnr[np.isfinite(psnr)]
    return {
        "accuracy": share(np.asarray(labels)),
        "hits": share(np.asarray(goals)),
        "psnr": float(np.mean(changed, dtype=np.float64)) if len(changed) else None,
        "per_image": {name: per_image[name] for name in ("psnr", "distance")},
    }
