"""The pictures of the report, as SVG that a page can hold."""

import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.figure
import numpy as np
from matplotlib.ticker import MaxNLocator

from raeg_jax.evaluation.table import SPLITS

Results = Mapping[str, Any]


def reading(results: Sequence[Results], targets: Sequence[str]) -> str:
    """Mean accuracy of the targets against PSNR; dashed that of the held-out classifiers."""
    splits = [split for split in SPLITS if any(one["split"] == split for one in results)]
    figure = figure_of(len(splits))
    for axis, split in zip(figure.axes, splits, strict=True):
        for colour, variant in enumerate(("protected", "noise", "pgd")):
            own = [one for one in results if one["split"] == split and variant in one["quality"]]
            own = [one for one in own if one["quality"][variant]["psnr"] is not None]
            own.sort(key=lambda one: one["quality"][variant]["psnr"])
            psnrs = [one["quality"][variant]["psnr"] for one in own]
            for held_out, style in ((False, "o-"), (True, "--")):
                values = [_mean(one, variant, targets, held_out) for one in own]
                label = None if held_out else variant
                axis.plot(psnrs, values, style, color=f"C{colour}", label=label)
        axis.set(title=f"{SPLITS[split]} images", xlabel="PSNR, dB", ylim=(0, 1))
        low, high = axis.get_xlim()
        axis.set_xlim(low - 1, high + 1)
    figure.axes[0].set_ylabel("accuracy (dashed: held out)")
    figure.axes[0].legend()
    return svg(figure)


def _mean(one, variant, targets, held_out):
    found = [
        own["accuracy"][variant]
        for name, own in one["classifiers"].items()
        if (name not in targets) == held_out
    ]
    return statistics.fmean(found) if found else np.nan


def histogram(results: Sequence[Results]) -> str:
    """How the PSNRs of single images are spread, at each PSNR asked for."""
    figure = figure_of(1)
    unseen = [one for one in results if one["split"] == "test"]
    values = [value for one in unseen for value in one["each_psnr"]]
    # A quarter of a decibel at least: what was asked for is met to a few hundredths.
    count = int(np.clip(4 * np.ptp(values), 1, 40)) if values else 1
    bins = np.histogram_bin_edges(values, count)
    for one in unseen:
        label = "own" if one["asked"] is None else f"{one['asked']:g} dB asked"
        figure.axes[0].hist(one["each_psnr"], bins=bins, alpha=0.6, label=label)
    figure.axes[0].set(xlabel="PSNR of a protected image, dB", ylabel="unseen images")
    figure.axes[0].yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.axes[0].legend()
    return svg(figure)


def defences(results: Sequence[Results], targets: Sequence[str]) -> str:
    """Bars: what the targets read after each defence, of originals and of protected images."""
    figure, names = figure_of(1, width=9), [one["defence"] for one in results]
    place = np.arange(len(names))
    for offset, kind in ((-0.2, "defended original"), (0.2, "defended")):
        values = [_mean(one, kind, targets, held_out=False) for one in results]
        figure.axes[0].bar(place + offset, values, 0.4, label=kind)
    figure.axes[0].set_xticks(place, names, rotation=45, ha="right")
    figure.axes[0].set(ylabel="accuracy of targets", ylim=(0, 1))
    figure.axes[0].legend()
    return svg(figure)


def pirates(results: Sequence[Results]) -> str:
    """Learning curves of models, means over seeds, a picture for each architecture."""
    architectures = list(dict.fromkeys(one["architecture"] for one in results))
    figure = figure_of(len(architectures), width=9)
    for axis, architecture in zip(figure.axes, architectures, strict=True):
        curves: dict[str, list] = {}
        for one in results:
            if one["architecture"] == architecture:
                name = one["images"] + (f", {one['training']}" if one["training"] else "")
                curves.setdefault(name, []).append(one["curve"])
        for index, (name, own) in enumerate(curves.items()):
            steps = [step for step, _ in own[0]]
            values = np.mean([[value for _, value in curve] for curve in own], axis=0)
            style = ("-", "--", ":")[index // 10 % 3]
            axis.plot(steps, values, style, color=f"C{index % 10}", label=name)
        axis.set(title=architecture, xlabel="step")
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.axes[0].set_ylabel("accuracy on clean unseen images")
    figure.axes[-1].legend(fontsize="x-small", ncols=2)
    return svg(figure)


PLOTS: dict[str, tuple[Callable[..., str], ...]] = {
    "reading": (reading, lambda results, targets: histogram(results)),
    "defences": (defences,),
    "pirates": (lambda results, targets: pirates(results),),
}


def figure_of(columns: int, width: float = 4.5, shared: bool = True):
    """A figure of plots side by side, `width` inches wide or more, with one y axis if shared."""
    figure = matplotlib.figure.Figure((max(width, 4.5 * columns), 3.6), layout="constrained")
    figure.subplots(1, columns, sharey=shared)
    for axis in figure.axes:
        axis.grid(alpha=0.3)
    return figure


def svg(figure) -> str:
    """A figure as text that a page can hold."""
    buffer = io.StringIO()
    # The same bytes for the same numbers.
    with matplotlib.rc_context({"svg.hashsalt": "raeg"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
