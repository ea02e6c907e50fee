"""The report of a comparison: tables and curves, with images to look at."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from raeg_jax.comparison import plots, tables
from raeg_jax.comparison.compared import Make
from raeg_jax.comparison.quality import SPLIT
from raeg_jax.data.memory import spread
from raeg_jax.evaluation.grid import difference, panel
from raeg_jax.experiments import report
from raeg_jax.methods.registry import TITLES

_PICTURES = 4


def write(
    folder: pathlib.Path,
    make: Make,
    found: Mapping[str, Mapping[str, Mapping[str, Any]]],
    origin: Mapping[str, Any],
) -> pathlib.Path:
    """Writes the report of what was measured so far, see `experiments.report.write`."""
    config = make.subject.config
    results = {name: [entry["result"] for entry in own.values()] for name, own in found.items()}
    targets = make.subject.targets
    shown, pictures = {}, {}
    if "quality" in results:
        shown["comparison"] = tables.comparison(results, targets, config.comparison)
        pictures["comparison"] = [plots.curves(results["quality"], targets)]
    shown |= {name: tables.TABLES[name](own) for name, own in results.items()}
    title = f"{origin['config']}: RAEG and others"
    sample = pictures_of(make, results.get("quality", []))
    return report.write(folder, title, sample, found, origin, shown, pictures)


def pictures_of(make: Make, results) -> np.ndarray:
    """Some unseen images, and what each method made of them; grey where it failed."""
    psnr = make.subject.config.comparison.psnr
    done = [
        name
        for name in TITLES
        if any(one["method"] == name and one["asked"] == psnr for one in results)
    ]
    if not done:
        return np.full((1, 1, 3), 255, np.uint8)
    images, labels = make(done[0], psnr).given(SPLIT)
    chosen = spread(labels, min(_PICTURES, len(labels)))
    columns = {"original": images[chosen]}
    for name in done:
        files = make(name, psnr).protected(SPLIT)
        there = dict(zip(files.kept.tolist(), files.images, strict=True))
        grey = np.full(images.shape[1:], 128, np.uint8)
        made = np.stack([there.get(index, grey) for index in chosen.tolist()])
        own = difference(made, images[chosen])
        columns |= {TITLES[name]: made, f"{TITLES[name]}, x10": own}
    names = make.subject.splits.class_names
    return panel(columns, [[names[labels[i]]] for i in chosen])
