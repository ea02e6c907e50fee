"""What comes back when protected files were distorted: from the file alone, and with its payload.

A payload in the pixels breaks with them. Whoever kept it elsewhere can still undo the method, which
then meets other values than it made.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from raeg_jax.adversarial.distortions import DEFENCES
from raeg_jax.comparison.compared import Compared, Make
from raeg_jax.comparison.quality import SPLIT
from raeg_jax.comparison.units import of_files
from raeg_jax.evaluation import compiled
from raeg_jax.evaluation.batches import measure_all
from raeg_jax.experiments.scores import BEFORE, mean, right, scores
from raeg_jax.experiments.store import Unit
from raeg_jax.methods.registry import REVERSIBLE


def units(make: Make, methods: tuple[str, ...], settings) -> Iterator[Unit]:
    """Each distortion of each method that can be undone."""
    own = [method for method in methods if method in REVERSIBLE]
    return of_files("distortion", make, own, settings.distortions, 60.0, measure)


def measure(compared: Compared, name: str) -> dict[str, Any]:
    """Distorts files, and undoes them in both ways.

    Returns:
      `method`, `distortion`, `protected` (number of files); shares of these: `alone`, which give
      anything back without their payload kept, and `beside`, which do with it; of the latter mean
      `psnr` (decibels) and `ssim` from the original, those of the distorted file before
      (`psnr_distorted`, `ssim_distorted`), and `classifiers`, the scores on what comes back.
    """
    files = compared.protected(SPLIT)
    result = {"method": compared.method, "distortion": name, "protected": len(files.kept)}
    if not len(files.kept):
        nothing = dict.fromkeys(("alone", "beside", "psnr", "psnr_distorted"))
        return result | nothing | {"classifiers": {}}
    originals, labels = compared.originals(SPLIT)
    size, undoer = compared.batch_size(SPLIT), compared.contender(float(files.aim))

    def undo(index, batch, truth):
        changed = np.asarray(DEFENCES[name](files.images[index]))
        blobs = [files.blob(i) for i in index]
        hidden = files.in_pixels[index]
        kept = [None if within else blob for within, blob in zip(hidden, blobs, strict=True)]
        alone = undoer.recover(changed, kept)
        found = undoer.estimate(changed, blobs)
        back = np.array([one is not None for one in found])
        found = np.stack(
            [own if there else x for own, there, x in zip(found, back, changed, strict=True)]
        )
        rows = {"alone": np.array([isinstance(one, np.ndarray) for one in alone]), "beside": back}
        for kind, images in {"": found, "_distorted": changed}.items():
            near = compiled.compare(images, batch)
            rows |= {key + kind: near[key] for key in ("psnr", "ssim")}
        return rows | right(compared.frozen, {BEFORE: batch, "back": found}, truth)

    each = measure_all(undo, originals, labels, size)
    back = each.pop("beside")
    result |= {"alone": mean(each.pop("alone")), "beside": mean(back)}
    each = {key: values[back] for key, values in each.items()}
    keys = ("psnr", "ssim", "psnr_distorted", "ssim_distorted")
    return (
        result
        | {key: mean(each[key]) for key in keys}
        | {"classifiers": scores(each, compared.frozen, (BEFORE, "back"))}
    )
