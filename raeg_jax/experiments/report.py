"""The report of a suite or a comparison: what was measured so far."""

import base64
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from raeg_jax import process
from raeg_jax.data.decode import encode_png
from raeg_jax.data.memory import spread
from raeg_jax.evaluation.grid import difference, panel
from raeg_jax.evaluation.table import KEPT, ROLES, description
from raeg_jax.experiments.context import Context
from raeg_jax.experiments.experiment import Results
from raeg_jax.experiments.page import Section, write_report
from raeg_jax.experiments.registry import EXPERIMENTS
from raeg_jax.experiments.tables import Table
from raeg_jax.methods.registry import TITLES

_PICTURES = 4


def write(
    context: Context, entries: Mapping[str, Mapping[str, Mapping[str, Any]]], origin: Mapping
) -> pathlib.Path:
    """Writes the report of what was measured so far.

    Args:
      context: has the folder, the run and all methods.
      entries: for each experiment what the store has of its units, by name.
      origin: what the numbers come from, as JSON holds it.

    Returns:
      The page.
    """
    entries = {name: units for name, units in entries.items() if units}
    results = {
        name: [entry["result"] for entry in units.values()] for name, units in entries.items()
    }
    sections = [Section(classifiers(context))]
    if any(EXPERIMENTS[name].headline for name in results):
        sections.append(Section(overview(results, context)))
    for name, found in results.items():
        plots = [plot(found, context) for plot in EXPERIMENTS[name].plots]
        sections.append(Section(EXPERIMENTS[name].table(found, context), plots))
    ends = "RAEG and others" if context.compared else "what the protection is worth"
    numbers = {
        "command": process.shell_command(),
        "origin": origin,
        "classifiers": context.run.describe(),
        "experiments": entries,
    }
    introduction = (
        "<p>Unseen images; differences times ten.</p>",
        f'<img src="data:image/png;base64,{_png(_samples(context, results))}" alt="images">',
    )
    title = f"{origin['config']}: {ends}"
    return write_report(context.folder, title, sections, numbers, introduction)


def classifiers(context: Context) -> Table:
    """Who reads the images, and how."""
    rows: list[tuple[str, ...]] = [
        (name, ROLES[one["role"]], description(one)) for name, one in context.run.describe().items()
    ]
    note = "Targets were attacked. Attack success: the share of correct readings that changed."
    has_others = context.run.published or context.run.readers
    note += f" {KEPT}" if has_others else ""
    return Table("Classifiers", note, ("classifier", "role", "weights and preprocessing"), rows)


def overview(results: Mapping[str, Results], context: Context) -> Table:
    """A column for each method, from the experiments that compare."""
    columns: dict[str, dict[str, str]] = {}
    for method, title in TITLES.items():
        cells: dict[str, str] = {}
        for name, found in results.items():
            if headline := EXPERIMENTS[name].headline:
                cells |= headline(method, found, context)
        if cells:
            columns[title] = cells
    names = dict.fromkeys(name for cells in columns.values() for name in cells)
    rows = [(name, *(cells.get(name, "") for cells in columns.values())) for name in names]
    # What was not measured has no row.
    rows = [row for row in rows if any(row[1:])]
    settings = context.run.config.comparison
    where = f"at {settings.psnr:g} dB (a learned stage at the end has its own PSNR)"
    note = (
        f"Unseen images {where if context.compared else 'at the PSNR of the generator'}, payload "
        "in the file. Attack success: of the images classified correctly before, the share "
        "misclassified after, mean over the targets or the held-out classifiers; of all images: "
        "those that a method can't protect count as no success. Exact: files that give back their "
        "original bit for bit, in all repetitions. Back from the file: of distorted files the "
        "share that gives back anything; with the payload, which was kept: PSNR to the original, "
        "and in brackets before undoing. Pirates: peak accuracy of models trained on the files "
        "there are, as a share of that of undefended honest models; best defence: or training, the "
        "one that gives pirates most. Several repetitions: mean (least to most). RAE "
        f"and RIT start from {settings.attack} with {settings.steps} steps."
    )
    title = "Comparison" if context.compared else "Overview"
    return Table(title, note, ("", *columns), rows)


def _samples(context: Context, results: Mapping[str, Results]) -> np.ndarray:
    """Some unseen images, and what each method made of them; grey where it failed."""
    measured = {
        result["method"]
        for name in ("quality", "defences", "distortion")
        for result in results.get(name, ())
    }
    if not context.compared:
        measured = {"raeg"}
    if not measured:
        return np.full((1, 1, 3), 255, np.uint8)
    methods = [method for method in TITLES if method in measured]
    images, labels = context.protected(methods[0], context.psnr).candidates()
    chosen = spread(labels, min(_PICTURES, len(labels)))
    columns = {"original": images[chosen]}
    for method in methods:
        files = context.protected(method, context.psnr).files
        by_number = dict(zip(files.kept.tolist(), files.images, strict=True))
        grey = np.full(images.shape[1:], 128, np.uint8)
        shown = np.stack([by_number.get(index, grey) for index in chosen.tolist()])
        columns[TITLES[method]] = shown
        columns[f"{TITLES[method]}, x10"] = difference(shown, images[chosen])
    class_names = context.run.splits.class_names
    return panel(columns, [[class_names[labels[i]]] for i in chosen])


def _png(image: np.ndarray) -> str:
    return base64.b64encode(encode_png(image)).decode()
