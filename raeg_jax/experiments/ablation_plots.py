"""Plots of a study: variants by colour and marker."""

from collections.abc import Iterable, Mapping, Sequence

import matplotlib
import matplotlib.figure
import numpy as np

from raeg_jax.experiments.ablation_numbers import TARGETS, Difference, Result, Variant
from raeg_jax.experiments.plots import figure_of, svg

_MARKERS = "osD^v<>P*Xph"
_CURVES = {
    "psnr": "PSNR, dB",
    "attack_success": "attack success, targets",
    "loss/adversary": "adversarial loss",
}
# Points of a curve that are averaged: a batch is few images.
_WINDOW = 9


def _colours(variants: Sequence[Variant]) -> dict[str, tuple[float, ...]]:
    """A colour for each variant; up to 20 differ: the dark ones first, then the light ones."""
    table = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
    order = [*table[::2], *table[1::2]]
    return {one.name: order[i % len(order)] for i, one in enumerate(variants)}


def accuracy(variants: Sequence[Variant]) -> str:
    """Accuracy left of the targets against PSNR: a point for each variant and seed."""
    figure = figure_of(1, width=8.0)
    (axis,) = figure.axes
    colours = _colours(variants)
    for index, one in enumerate(variants):
        psnrs, left = (one.numbers.get(name) for name in ("psnr", f"accuracy/{TARGETS}"))
        if psnrs is None or left is None:
            continue
        seeds = [seed for seed in psnrs.seeds if seed in left.seeds]
        axis.plot(
            [psnrs.seeds[seed] for seed in seeds],
            [left.seeds[seed] for seed in seeds],
            _MARKERS[index % len(_MARKERS)],
            color=colours[one.name],
            label=one.name,
        )
    for psnr in sorted({one.target_psnr for one in variants}):
        axis.axvline(psnr, color="grey", linewidth=0.8, linestyle="--")
    axis.set(xlabel="PSNR, dB (dashed: target)", ylabel="accuracy left, targets")
    _legend(figure)
    return svg(figure)


def curves(variants: Sequence[Variant]) -> str:
    """Metrics of training batches over steps: a line for each variant, the mean over seeds."""
    figure = figure_of(len(_CURVES), shared=False)
    colours = _colours(variants)
    for axis, (name, title) in zip(figure.axes, _CURVES.items(), strict=True):
        for one in variants:
            steps, values = _mean_curve(one.results.values(), name)
            if steps:
                axis.plot(steps, values, color=colours[one.name], label=one.name, linewidth=1.2)
        axis.set(xlabel=f"step (mean of {_WINDOW} points and all seeds)", title=title)
    _legend(figure)
    return svg(figure)


def _mean_curve(results: Iterable[Result], name: str) -> tuple[list[int], np.ndarray]:
    """Steps, and the running mean of what was logged at them, averaged over seeds."""
    by_step: dict[int, list[float]] = {}
    for result in results:
        found = result["curves"]
        for step, value in zip(found["step"], found[name], strict=True):
            if value is not None:
                by_step.setdefault(step, []).append(value)
    steps = sorted(by_step)
    means = np.array([np.mean(by_step[step]) for step in steps])
    half = _WINDOW // 2
    smooth = [means[max(0, i - half) : i + half + 1].mean() for i in range(len(means))]
    return steps, np.array(smooth)


def differences(first: str, found: Mapping[str, Mapping[str, Difference | None]]) -> str:
    """Differences in accuracy from the first variant: intervals, and a dot for each seed."""
    groups = list(next(iter(found.values()), {}))
    figure = figure_of(max(1, len(groups)))
    names = list(found)
    for axis, group in zip(figure.axes, groups, strict=False):
        axis.axvline(0, color="grey", linewidth=0.8)
        for row, name in enumerate(names):
            if (one := found[name][group]) is None:
                continue
            axis.plot([one.low, one.high], [row, row], color="C0", linewidth=2, alpha=0.5)
            axis.plot(list(one.seeds.values()), [row] * len(one.seeds), ".", color="C1")
            axis.plot(one.mean, row, "|", color="C0", markersize=10)
        axis.set(xlabel=f"accuracy left, {group}: minus {first}", ylim=(len(names) - 0.5, -0.5))
        axis.locator_params(axis="x", nbins=5)
        axis.set_yticks(range(len(names)), names)
    return svg(figure)


def _legend(figure: matplotlib.figure.Figure) -> None:
    """One for all plots of a figure, beside them."""
    lines, labels = figure.axes[0].get_legend_handles_labels()
    if lines:
        figure.legend(lines, labels, loc="outside right center", fontsize="small")
