"""Figures of a report, as SVG that a page can hold."""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.axes
import matplotlib.figure
import numpy as np

from raeg_jax.evaluation.scores import mean_score

_STYLES = {"target": "o-", "held_out": "--", "reader": ":"}
# What the lines of `plot_scores` mean.
LINES = "dashed: held out, dotted: readers"


def figure_of(columns: int, width: float = 4.5, shared: bool = True) -> matplotlib.figure.Figure:
    """A figure of plots side by side, `width` inches wide or more, with one y axis if shared."""
    figure = matplotlib.figure.Figure((max(width, 4.5 * columns), 3.6), layout="constrained")
    figure.subplots(1, columns, sharey=shared)
    for axis in figure.axes:
        axis.grid(alpha=0.3)
    return figure


def svg(figure: matplotlib.figure.Figure) -> str:
    """A figure as text; the same text for the same numbers."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "raeg"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def plot_scores(
    axis: matplotlib.axes.Axes,
    points: Iterable[tuple[float | None, Mapping[str, Any]]],
    score: str,
    kind: str,
    roles: Mapping[str, Sequence[str]],
    *,
    colour: int,
    label: str,
) -> None:
    """Draws mean scores against PSNR: a line for each role that any classifier has.

    Args:
      axis: to draw in.
      points: PSNR (None for images that equal their originals, which are left out) and scores, as
        `scores.scores` makes them.
      score: 'accuracy' or 'attack_success'.
      kind: of images.
      roles: names of classifiers by role, see `TrainedRun.roles`.
      colour: its number.
      label: of the line of the targets.
    """
    shown = sorted(((x, y) for x, y in points if x is not None), key=lambda point: point[0])
    for role, style in _STYLES.items():
        if not roles[role]:
            continue
        means = [mean_score(y, score, kind, roles[role]) for _, y in shown]
        values = [np.nan if value is None else value for value in means]
        axis.plot(
            [x for x, _ in shown],
            values,
            style,
            color=f"C{colour}",
            label=label if role == "target" else "_",
        )
