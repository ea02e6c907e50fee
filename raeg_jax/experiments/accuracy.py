"""Accuracy against PSNR on protected files, beside noise and PGD at each image's own distance."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from ml_collections import ConfigDict

from raeg_jax.config.rules import PSNR, Each, OneOf
from raeg_jax.errors import UserError
from raeg_jax.evaluation.protectors import protector_of
from raeg_jax.evaluation.readers import Reader
from raeg_jax.evaluation.scores import mean_score
from raeg_jax.evaluation.split import correct_of, evaluate_split
from raeg_jax.evaluation.table import SPLITS
from raeg_jax.evaluation.trained_run import aim_at, can_aim_at
from raeg_jax.experiments.context import Context
from raeg_jax.experiments.experiment import Experiment, Results
from raeg_jax.experiments.plots import LINES, figure_of, plot_scores, svg
from raeg_jax.experiments.store import Unit
from raeg_jax.experiments.tables import Table, column, decibels, grouped, number, table_of
from raeg_jax.generator.build import STAGES, check_stages
from raeg_jax.image.metrics import PSNR_CAP

VARIANTS = ("protected", "noise", "pgd")
_RESAMPLES = 1000
# Of `config.suite.stages`.
GENERATORS = tuple(
    "+".join(stages)
    for count in range(1, len(STAGES) + 1)
    for stages in itertools.combinations(STAGES, count)
)


def units(context: Context) -> Iterator[Unit]:
    """A unit for each generator, split and PSNR; a learned stage at the end has its own PSNR."""
    settings = context.run.config.suite
    for config in _generators(context.run.config):
        stages = tuple(config.generator.stages)
        psnrs: list[float | None] = [None]
        if stages[-1] != "learned":
            psnrs = [psnr for psnr in settings.psnrs if can_aim_at(config, psnr)]
        for split in SPLITS:
            for psnr in psnrs:
                own = "own" if psnr is None else f"{psnr:g}"
                yield Unit(
                    f"accuracy/{'+'.join(stages)}-{split}-{own}",
                    (settings.images or 1000) * 0.5,
                    functools.partial(measure, context, config, split, psnr),
                    {"images": settings.images} | context.read_by,
                )


def _generators(config: ConfigDict) -> list[ConfigDict]:
    """The run's generator, and those of `config.suite.stages`."""
    own = tuple(config.generator.stages)
    others = [tuple(name.split("+")) for name in config.suite.stages]
    configs = []
    for stages in dict.fromkeys((own, *others)):
        changed = config.copy_and_resolve_references()
        changed.generator.stages = stages
        configs.append(changed)
    return configs


def check(config: ConfigDict) -> None:
    """Stops at impossible stages in `config.suite.stages`."""
    others = config.suite.stages
    if "learned" not in config.generator.stages and any("learned" in name for name in others):
        raise UserError(
            f"config.suite.stages={tuple(others)} has a learned stage, but "
            f"config.generator.stages={tuple(config.generator.stages)} has none, so the run has no "
            "weights for it"
        )
    for changed in _generators(config):
        check_stages(changed.generator)


def measure(context: Context, config: ConfigDict, split: str, psnr: float | None) -> dict[str, Any]:
    """Evaluates a split as the table of a run does.

    Returns:
      What `evaluate_split` returns without arrays; `stages`, `split`, `asked` (decibels); `psnrs`,
      decibels of each protected file, at most 100; and by variant `worst_miss`, the largest
      distance of a file's PSNR from the asked one, and `correct`, how many targets are right about
      each image.
    """
    run = context.run
    config = config.copy_and_resolve_references()
    if psnr is not None:
        aim_at(config, psnr)
    images, labels = run.images(split, config.suite.images)
    size = run.batch_size(labels)
    chain = run.with_config(config).chain
    readers = {name: one for name, one in run.read_by.items() if isinstance(one, Reader)}
    summary = evaluate_split(
        protector_of(config, run.splits.class_names, chain, run.classifiers, size),
        run.frozen,
        images,
        labels,
        size,
        targets=run.targets,
        held_out=tuple(config.classifiers.held_out),
        readers=readers,
        pgd_steps=config.eval.pgd_steps,
        seed=config.seed,
        description=f"{split} images" + ("" if psnr is None else f" at {psnr:g} dB"),
    )
    del summary["speeds"]
    per_image = summary.pop("per_image")
    variants = [variant for variant in VARIANTS if variant in summary["quality"]]
    correct = correct_of(per_image, labels, run.targets, readers)
    psnrs = {v: np.minimum(per_image[f"psnr/{v}"], PSNR_CAP) for v in variants}
    return summary | {
        "stages": list(config.generator.stages),
        "split": split,
        "asked": psnr,
        "psnrs": [float(value) for value in psnrs["protected"].round(3)],
        "worst_miss": {
            v: None if psnr is None else float(np.max(np.abs(psnrs[v] - psnr))) for v in variants
        },
        "correct": {
            v: np.sum([correct[v, name] for name in run.targets], axis=0).tolist() for v in variants
        },
    }


def behind_pgd(results: Results, targets: Sequence[str]) -> list[dict[str, Any] | None]:
    """How many decibels protected files are behind PGD at equal accuracy of the targets.

    Args:
      results: of one split, of any generators of the run and at any PSNRs.
      targets: names of the attacked classifiers.

    Returns:
      For each result None where it or PGD has no PSNR; else `gap`, the PSNR at which PGD leaves the
      same accuracy (interpolated; of several the nearest) less that of the files, and `beyond`.
      Where the accuracy is 'below' or 'above' all of PGD's, `beyond` says which and `gap` is None;
      elsewhere `beyond` is None. `interval` has the 5th and the 95th percentile of the gap over
      resamples of the images (bootstrap), in which the ends of PGD's curve stand for what lies
      beyond.
    """
    points = [
        (psnr, mean_score(r["classifiers"], "accuracy", "pgd", targets), r["correct"]["pgd"])
        for r in results
        if (psnr := r["quality"].get("pgd", {}).get("psnr")) is not None
    ]
    points.sort(key=lambda point: point[0])
    psnrs = np.array([point[0] for point in points])
    return [_behind_pgd(result, points, psnrs, targets) for result in results]


def _behind_pgd(result, points, psnrs, targets) -> dict[str, Any] | None:
    psnr = result["quality"]["protected"]["psnr"]
    if psnr is None or not points:
        return None
    accuracy = mean_score(result["classifiers"], "accuracy", "protected", targets)
    gap, beyond = _gap(accuracy, psnr, [point[1] for point in points], psnrs)
    # The same images are drawn for the files and for all points of PGD's curve.
    correct = [result["correct"]["protected"], *(point[2] for point in points)]
    per_image = np.array(correct, np.float64)
    count = per_image.shape[1]
    drawn = np.random.RandomState(0).randint(0, count, (_RESAMPLES, count))
    resampled = per_image[:, drawn].mean(-1)
    gaps = [_gap(own, psnr, others, psnrs)[0] for own, *others in resampled.T]
    interval = [float(value) for value in np.percentile(gaps, (5, 95))]
    return {"gap": None if beyond else gap, "beyond": beyond, "interval": interval}


def _gap(accuracy, psnr, accuracies, psnrs) -> tuple[float, str | None]:
    """The gap of one point, up to the nearest end of PGD's curve, and beyond which it lies."""
    # Accuracy grows with PSNR; measured curves may have small dips.
    accuracies = np.maximum.accumulate(accuracies)
    if accuracy < accuracies[0]:
        return float(psnrs[0] - psnr), "below"
    if accuracy > accuracies[-1]:
        return float(psnrs[-1] - psnr), "above"
    if len(equal := psnrs[accuracies == accuracy]):
        return float(np.clip(psnr, equal[0], equal[-1]) - psnr), None
    return float(np.interp(accuracy, accuracies, psnrs) - psnr), None


def table(results: Results, context: Context) -> Table:
    """Accuracy and attack success against PSNR, beside noise and PGD."""
    rows = []
    for group in grouped(results, lambda result: result["split"]).values():
        for result, behind in zip(group, behind_pgd(group, context.run.targets), strict=True):
            rows += [
                {**result, "kind": kind, "behind": _behind(behind) if kind == "protected" else ""}
                for kind in VARIANTS
                if kind in result["quality"]
            ]
    columns = {
        "generator": lambda row: ", ".join(row["stages"]),
        "images": lambda row: SPLITS[row["split"]],
        "count": column("images"),
        "method": column("kind"),
        "PSNR, dB": lambda row: decibels(row["quality"][row["kind"]]["psnr"]),
        "worst miss, dB": lambda row: number(row["worst_miss"][row["kind"]], 2),
        "behind PGD, dB": column("behind"),
    }
    scores = {
        "{} original": ("accuracy", "original"),
        "{}": ("accuracy", None),
        "{} success": ("attack_success", None),
    }
    note = (
        "Accuracy on originals and on changed files, and attack success: of the images classified "
        "correctly before, the share misclassified after. Noise and PGD have the protected files' "
        "distance. Behind PGD: the PSNR at which PGD leaves the targets the same accuracy, less "
        "that of the files, with the 90 % interval of a bootstrap over images."
    )
    return table_of("Reading", note, rows, columns, scores)


def _behind(behind: dict[str, Any] | None) -> str:
    """What `behind_pgd` returned, as a cell."""
    if behind is None:
        return ""
    if behind["gap"] is None:
        return f"{behind['beyond']} all of PGD's accuracies"
    low, high = behind["interval"]
    return f"{behind['gap']:+.2f} ({low:+.2f} to {high:+.2f})"


def curves(results: Results, context: Context) -> str:
    """Mean accuracy against PSNR, a line for each generator, control and role."""
    splits = [split for split in SPLITS if any(result["split"] == split for result in results)]
    stages = list(dict.fromkeys(tuple(result["stages"]) for result in results))
    lines = [(name, "protected") for name in stages]
    lines += [(stages[0], variant) for variant in VARIANTS[1:]]
    figure = figure_of(len(splits))
    for axis, split in zip(figure.axes, splits, strict=True):
        for colour, (name, variant) in enumerate(lines):
            points = [
                (result["quality"].get(variant, {}).get("psnr"), result["classifiers"])
                for result in results
                if (result["split"], tuple(result["stages"])) == (split, name)
            ]
            label = "+".join(name) if variant == "protected" else variant
            plot_scores(
                axis, points, "accuracy", variant, context.run.roles, colour=colour, label=label
            )
        axis.set(title=f"{SPLITS[split]} images", xlabel="PSNR, dB", ylim=(0, 1))
        low, high = axis.get_xlim()
        axis.set_xlim(low - 1, high + 1)
    figure.axes[0].set_ylabel(f"accuracy ({LINES})")
    figure.axes[0].legend()
    return svg(figure)


def histogram(results: Results, context: Context) -> str:
    """The PSNRs of single files, at each PSNR asked for."""
    figure = figure_of(1)
    unseen = [result for result in results if result["split"] == "test"]
    values = [value for result in unseen for value in result["psnrs"]]
    # A quarter of a decibel at least: the PSNR asked for is met to a few hundredths.
    count = int(np.clip(4 * np.ptp(values), 1, 40)) if values else 1
    bins = np.histogram_bin_edges(values, count).tolist()
    for result in unseen:
        label = "own" if result["asked"] is None else f"{result['asked']:g} dB asked"
        figure.axes[0].hist(result["psnrs"], bins=bins, alpha=0.6, label=label)
    figure.axes[0].set(xlabel="PSNR of a protected image, dB", ylabel="unseen images")
    figure.axes[0].yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.axes[0].legend()
    return svg(figure)


EXPERIMENT = Experiment(
    name="accuracy",
    units=units,
    table=table,
    plots=(curves, histogram),
    settings={
        "suite.psnrs": Each(PSNR),
        "suite.stages": Each(OneOf(GENERATORS), least=0),
    },
    check=check,
)
