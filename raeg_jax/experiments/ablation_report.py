"""The report of a study: its variants side by side, in HTML, Markdown, LaTeX and JSON."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from raeg_jax import process
from raeg_jax.evaluation.table import KEPT
from raeg_jax.experiments import ablation_plots as plots
from raeg_jax.experiments.ablation_numbers import (
    HELD_OUT,
    TARGETS,
    Difference,
    Spread,
    Variant,
    difference,
    groups_of,
    originals_of,
    psnr_difference,
    variants_of,
)
from raeg_jax.experiments.page import Section, write_report
from raeg_jax.experiments.tables import Result, Table, latex, mean_and_range, number
from raeg_jax.files import write_whole

LATEX = "report.tex"
_SEEDS = "Several seeds: mean (least to most)."


class _Column(NamedTuple):
    """A column of a table: heading, name of the number, decimals, its sign, text in its place."""

    head: str
    name: str
    digits: int = 3
    sign: str = ""
    missing: str = ""


def write(
    config: ConfigDict,
    folder: pathlib.Path,
    results: Sequence[Result],
    origin: Mapping[str, Any],
) -> pathlib.Path:
    """Writes the report of what was measured so far.

    Args:
      config: of the study.
      folder: of the report, in the study's workdir.
      results: of runs, as `ablation.report_study` measures them.
      origin: what the numbers come from, as JSON holds it.

    Returns:
      The page.
    """
    groups = groups_of(results)
    variants = variants_of(config, folder.parent, results, groups)
    first, *others = variants
    originals = originals_of(variants, groups)
    differences = {
        variant.name: {
            group: difference(variant.results, first.results, names)
            for group, names in groups.items()
        }
        for variant in others
    }
    found = [
        Section(_protection(variants, originals), [plots.accuracy(variants)]),
        Section(_recovery(variants)),
        Section(_cost(variants), [plots.curves(variants)]),
        Section(_differences(variants, differences), [plots.differences(first.name, differences)]),
    ]
    # Without others there are no differences.
    measured = [section for section in found if section.table.rows]
    about = [Section(_incomplete(variants)), Section(_settings(variants))]
    numbers = {
        "command": process.shell_command(),
        "origin": origin,
        "groups": groups,
        "originals": {name: one and one._asdict() for name, one in originals.items()},
        "variants": {variant.name: _numbers(variant, first, differences) for variant in variants},
        "runs": results,
    }
    lines = [line for section in measured for line in latex(section.table)]
    write_whole(folder / LATEX, "\n".join(lines).encode())
    title = f"{config.name}: {len(variants)} variants side by side"
    sections = [section for section in (*measured, *about) if section.table.rows]
    return write_report(folder, title, sections, numbers)


def _numbers(
    variant: Variant,
    first: Variant,
    differences: Mapping[str, Mapping[str, Difference | None]],
) -> dict[str, Any]:
    """All numbers of a variant that tables have, for JSON."""
    minus_first: dict[str, Spread | Difference | None] = {}
    if variant is not first:
        minus_first = {**differences[variant.name], "psnr": psnr_difference(variant, first)}
    return {
        "changes": dict(variant.changes),
        "target_psnr": variant.target_psnr,
        "numbers": {name: one and one._asdict() for name, one in variant.numbers.items()},
        "minus_first": {name: one and one._asdict() for name, one in minus_first.items()},
    }


def _table(title: str, note: str, variants: Sequence[Variant], columns: Sequence[_Column]) -> Table:
    rows = [
        (variant.name, _state(variant), *(_cell(variant, column) for column in columns))
        for variant in variants
    ]
    return Table(title, note, ("variant", "seeds", *(column.head for column in columns)), rows)


def _state(variant: Variant) -> str:
    """How many seeds were measured, of how many."""
    if not variant.results:
        return "failed" if variant.failures else "not trained"
    measured, planned = len(variant.results), len(variant.runs)
    seeds = str(measured) if measured == planned else f"{measured} of {planned}"
    return f"{seeds}, unfinished" if variant.unfinished else seeds


def _cell(variant: Variant, column: _Column) -> str:
    spread = variant.numbers.get(column.name)
    if spread is None and variant.results:
        return column.missing
    return _text(spread, column)


def _text(spread: Spread | None, column: _Column) -> str:
    return mean_and_range(spread.seeds.values(), column.digits, column.sign) if spread else ""


def _protection(variants: Sequence[Variant], originals: Mapping[str, Spread | None]) -> Table:
    columns = []
    for group in originals:
        if group in (TARGETS, HELD_OUT):
            columns += [
                _Column(f"accuracy left, {group}", f"accuracy/{group}"),
                _Column(f"attack success, {group}", f"attack_success/{group}"),
            ]
        else:
            columns.append(_Column(f"accuracy left, {group}", f"accuracy/{group}"))
    columns += [
        _Column("PSNR, dB", "psnr", 2, missing="equal"),
        _Column("above target, dB", "above_target", 2, "+"),
        _Column("SSIM", "ssim", 4),
    ]
    note = (
        "Unseen images, without payload. Accuracy left: share of protected images that the "
        "classifiers read correctly; attack success: of the images read correctly before, the "
        "share misread after; means over the classifiers of a group. The fidelity gate brings all "
        "variants near their target PSNR; the column 'above target' says what is left: less PSNR "
        f"makes an attack easier. {_SEEDS}"
    )
    if originals.keys() - {TARGETS, HELD_OUT}:
        note += f" Each other reader has a column of accuracy. {KEPT}"
    table = _table("Protection", note, variants, columns)
    clean = {f"accuracy/{group}": spread for group, spread in originals.items()}
    cells = (_text(clean.get(column.name), column) for column in columns)
    return table._replace(rows=[("originals", "", *cells), *table.rows])


def _recovery(variants: Sequence[Variant]) -> Table:
    columns = [
        _Column("exact pixels", "exact_pixels", 4),
        _Column("exact images", "exact_images"),
        _Column("recovered, dB", "recovered_psnr", 2, missing="equal"),
        _Column("outside 0..255", "outside_range", 5),
    ]
    if any(variant.numbers.get("accuracy/wrong_token") for variant in variants):
        columns.append(_Column("accuracy with a wrong token", "accuracy/wrong_token"))
    note = (
        "From the pixels of protected images that were rounded and clipped to 0..255. Exact: all "
        "three samples equal. Recovered: PSNR to the original, mean over the images that differ; "
        "'equal' where all come back. Outside 0..255: share of the samples before clipping, which "
        "a payload restores. Wrong token: accuracy of the targets on what it recovers; empty for "
        f"variants without token. {_SEEDS}"
    )
    return _table("Recovery", note, variants, columns)


def _cost(variants: Sequence[Variant]) -> Table:
    columns = [
        _Column("parameters", "parameters", 0),
        _Column("seconds a step", "seconds_per_step"),
        _Column("memory of a step, MiB", "memory_mib", 0),
        _Column("protect, images/s", "images_per_s/protect", 1),
        _Column("recover, images/s", "images_per_s/recover", 1),
    ]
    note = (
        "Seconds: of a training step, on this machine and with whatever else it does. Memory: what "
        "XLA allots the training step on each device, its arguments included. Images a second: "
        f"without compilation. {_SEEDS}"
    )
    return _table("Cost", note, variants, columns)


def _differences(
    variants: Sequence[Variant], differences: Mapping[str, Mapping[str, Difference | None]]
) -> Table:
    first, *others = variants
    rows, groups = [], list(next(iter(differences.values()), {}))
    for variant in others:
        shared = variant.results.keys() & first.results.keys()
        row = [variant.name, str(len(shared)) if shared else ""]
        for group in groups:
            row += _difference_cells(differences[variant.name][group])
        psnr = psnr_difference(variant, first)
        rows.append((*row, mean_and_range(psnr.seeds.values(), 2, "+") if psnr else ""))
    head = [cell for group in groups for cell in (group, f"{group}, each seed")]
    note = (
        f"Accuracy left minus that of {first.name} on the same images, against the same "
        "classifiers and with the same seeds; negative: better protection. In brackets the 95 % "
        "interval of the mean over images, 1.96 standard errors of the paired differences (each "
        "the mean over seeds and classifiers) to both sides: it covers the choice of images, not "
        "chance in training, of which the differences of each seed (least to most) give an idea. "
        "*: the interval excludes 0 and all seeds, two or more, agree in sign; of twenty variants "
        "that change nothing one would have such an interval. Where the PSNRs differ, or a "
        "training is unfinished, a difference in accuracy means less."
    )
    return Table(
        f"Difference from {first.name}", note, ("variant", "seeds", *head, "PSNR, dB"), rows
    )


def _difference_cells(found: Difference | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    mean, low, high = (number(x, sign="+") for x in (found.mean, found.low, found.high))
    least, most = (number(each(found.seeds.values()), sign="+") for each in (min, max))
    star = " *" if found.clear else ""
    return f"{mean} [{low}, {high}]{star}", least if least == most else f"{least} to {most}"


def _incomplete(variants: Sequence[Variant]) -> Table:
    """Runs that were not measured, or too early, and why."""
    rows: list[tuple[str, ...]] = []
    for variant in variants:
        reasons = dict.fromkeys(variant.runs.keys() - variant.results.keys(), "not trained")
        reasons |= variant.failures | {
            seed: f"measured after step {variant.results[seed]['step']} of {steps}"
            for seed, steps in variant.unfinished.items()
        }
        rows += [(variant.name, str(seed), reasons[seed]) for seed in sorted(reasons)]
    return Table(
        "Incomplete", "Runs without results, or unfinished.", ("variant", "seed", ""), rows
    )


def _settings(variants: Sequence[Variant]) -> Table:
    rows: list[tuple[str, ...]] = [
        (
            variant.name,
            ", ".join(f"{name}={value}" for name, value in variant.changes) or "none",
            f"{variant.target_psnr:g}",
        )
        for variant in variants
    ]
    note = "What each variant changes in the study's configuration; all else is the same."
    return Table("Settings of the variants", note, ("variant", "changes", "target, dB"), rows)
