"""What comes back when protected files were distorted: from the file alone, and with its payload.

A payload in the pixels breaks with them. Whoever kept it elsewhere can still undo the method, which
then meets other values than it made.
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from raeg_jax.adversarial.distortions import DEFENCES
from raeg_jax.config.rules import Each, OneOf
from raeg_jax.evaluation import programs
from raeg_jax.evaluation.programs import measure_all
from raeg_jax.evaluation.scores import ORIGINAL, correct, mean, scores
from raeg_jax.experiments.context import Context
from raeg_jax.experiments.experiment import Experiment, Results
from raeg_jax.experiments.store import Unit
from raeg_jax.experiments.tables import Table, column, decibels, number, table_of
from raeg_jax.methods.registry import REVERSIBLE, TITLES

# Of the images that are recovered with their payload.
_MEANS = tuple(f"{key}{of}" for of in ("", "_before", "_to_distorted") for key in ("psnr", "ssim"))


def units(context: Context) -> Iterator[Unit]:
    """Each distortion of each method that can be undone."""
    most = context.most(context.psnr)
    names = context.run.config.comparison.distortions if context.compared else DEFENCES
    for method in context.methods:
        for name in names if method in REVERSIBLE else ():
            yield Unit(
                f"distortion/{method}-{name}",
                (most or 1000) * 0.3,
                functools.partial(measure, context, method, name),
                context.depends(method, context.psnr) | {"images": most} | context.read_by,
            )


def measure(context: Context, method: str, name: str) -> dict[str, Any]:
    """Distorts files, and undoes them in both ways.

    Returns:
      `method`, `distortion`, `protected` (number of files); shares of these: `from_file`, which
      give back anything without their payload kept, and `with_payload`, which do with it; of the
      latter `exact`, the share that equals the original, mean `psnr` (decibels, of the images
      that differ) and `ssim` from the original, of the distorted file before (`psnr_before`,
      `ssim_before`) and from the equally distorted original (`psnr_to_distorted`,
      `ssim_to_distorted`); `classifiers`, the scores on what comes back.
    """
    protected = context.protected(method, context.psnr)
    files, run, distort = protected.files, context.run, DEFENCES[name]
    result: dict[str, Any] = {
        "method": method,
        "distortion": name,
        "protected": len(files.kept),
    }
    if not len(files.kept):
        nothing = dict.fromkeys(("from_file", "with_payload", "exact", *_MEANS))
        return result | nothing | {"classifiers": {}}
    protector = protected.protector(float(files.aim))

    def undo(index, originals, labels):
        distorted = np.asarray(distort(files.images[index]))
        blobs = [files.blob(i) for i in index]
        beside = [
            None if in_pixels else blob
            for in_pixels, blob in zip(files.in_pixels[index], blobs, strict=True)
        ]
        from_file = protector.recover(distorted, beside)
        estimates = protector.estimate(distorted, blobs)
        with_payload = np.array([image is not None for image in estimates])
        recovered = np.stack(
            [x if image is None else image for image, x in zip(estimates, distorted, strict=True)]
        )
        compared = programs.compare(recovered, originals)
        rows: dict[Any, Any] = {
            "from_file": np.array([isinstance(image, np.ndarray) for image in from_file]),
            "with_payload": with_payload,
            "exact": compared["exact"],
        }
        pairs = {
            "_before": programs.compare(distorted, originals),
            "_to_distorted": programs.compare(recovered, np.asarray(distort(originals))),
            "": compared,
        }
        for of, pair in pairs.items():
            rows |= {key + of: pair[key] for key in ("psnr", "ssim")}
        return rows | correct(run.read_by, {ORIGINAL: originals, "recovered": recovered}, labels)

    per_image = measure_all(undo, *protected.originals(), protected.batch_size)
    with_payload = per_image.pop("with_payload")
    result |= {"from_file": mean(per_image.pop("from_file")), "with_payload": mean(with_payload)}
    per_image = {key: values[with_payload] for key, values in per_image.items()}
    result |= {key: mean(per_image[key]) for key in ("exact", *_MEANS)}
    return result | {"classifiers": scores(per_image, run.read_by, (ORIGINAL, "recovered"))}


def table(results: Results, context: Context) -> Table:
    """A row for each method and distortion."""
    heads = (
        "PSNR, dB", "SSIM", "PSNR before", "SSIM before", "PSNR to distorted", "SSIM to distorted",
    )  # fmt: skip

    def mean_of(key):
        form = decibels if key.startswith("psnr") else number
        return lambda result: form(result[key]) if result["with_payload"] else ""

    columns = {
        "method": lambda result: TITLES[result["method"]],
        "distortion": column("distortion"),
        "from the file alone": lambda result: number(result["from_file"]),
        "with payload": lambda result: number(result["with_payload"]),
        "exact": lambda result: number(result["exact"]),
        **{head: mean_of(key) for head, key in zip(heads, _MEANS, strict=True)},
    }
    note = (
        "Unseen images. Shares of distorted files that give back anything: from the file alone, "
        "and where the payload was kept elsewhere. Of the latter the share that is exact, PSNR "
        "and SSIM from the original after undoing and before, and from the equally distorted "
        "original, and accuracy on what comes back."
    )
    scores = {"{}": ("accuracy", "recovered")}
    return table_of("Recovery after distortion", note, results, columns, scores)


def headline(method: str, results: Results, context: Context) -> dict[str, str]:
    """What comes back in both ways."""
    cells, shown = {}, context.run.config.comparison.distortions
    for result in results:
        name = result["distortion"]
        if result["method"] == method and name in shown:
            cells[f"back from the file after {name}"] = number(result["from_file"], 2)
            cells[f"with the payload after {name}, dB"] = _psnrs(result)
    return cells


def _psnrs(result) -> str:
    if not result["with_payload"]:
        return "nothing" if result["protected"] else ""
    return f"{decibels(result['psnr'])} ({decibels(result['psnr_before'])})"


EXPERIMENT = Experiment(
    name="distortion",
    units=units,
    table=table,
    settings={"comparison.distortions": Each(OneOf(DEFENCES), least=0)},
    headline=headline,
    compares=True,
)
