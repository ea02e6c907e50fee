"""Tables of a report, and the cells of which they consist."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from tabulate import tabulate

from raeg_jax.evaluation.scores import CLOSED_SET

Result = Mapping[str, Any]
Key = TypeVar("Key")


class Table(NamedTuple):
    """A table of the report.

    Attributes:
      title: heading.
      note: what the numbers mean, in a sentence or two.
      head: of the columns.
      rows: as many cells each.
    """

    title: str
    note: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


def table_of(
    title: str,
    note: str,
    results: Sequence[Result],
    columns: Mapping[str, Callable[[Result], str]],
    scores: Mapping[str, tuple[str, str | None]],
) -> Table:
    """A table with a row for each result.

    Args:
      title: heading.
      note: what the numbers mean.
      results: with `classifiers`, as `scores.scores` makes them; empty of a method without files.
      columns: cells by head.
      scores: a score ('accuracy' or 'attack_success') and a kind of images each, by head with '{}'
        in place of the classifier; None for the result's own `kind`. Of classifiers that have it
        closed-set accuracy follows accuracy.
    """
    names = next((tuple(r["classifiers"]) for r in results if r["classifiers"]), ())
    closed = [n for n in names if any(CLOSED_SET in r["classifiers"].get(n, {}) for r in results)]
    wanted: list[tuple[str, str, str, str | None]] = []
    for text, (score, kind) in scores.items():
        wanted += [(text.format(name), name, score, kind) for name in names]
        if score == "accuracy":
            heads = {name: text.format(f"{name} (classes of the data set)") for name in closed}
            wanted += [(head, name, CLOSED_SET, kind) for name, head in heads.items()]
    rows = [tuple(cell(result) for cell in columns.values()) for result in results]
    for i, result in enumerate(results):
        for _, name, score, kind in wanted:
            own = result["kind"] if kind is None else kind
            found = result["classifiers"].get(name, {}).get(score, {}).get(own)
            rows[i] += (number(found),)
    return Table(title, note, (*columns, *(head for head, *_ in wanted)), rows)


def over_seeds(
    title: str,
    note: str,
    results: Iterable[Result],
    columns: Mapping[str, Callable[[Result], str]],
    more: Mapping[str, Callable[[list[Result]], str]],
) -> Table:
    """A table with a row for all models that differ in their seed alone: mean (least to most).

    Args:
      title: heading.
      note: what the numbers mean.
      results: of `pirates.train`.
      columns: cells by head, the same for all models of a row.
      more: cells by head, of the models of a row.
    """
    groups = grouped(results, lambda result: tuple(cell(result) for cell in columns.values()))
    rows = [(*key, *(cell(group) for cell in more.values())) for key, group in groups.items()]
    return Table(title, note, (*columns, *more), rows)


def over(key: str, digits: int = 3) -> Callable[[list[Result]], str]:
    """A column of `over_seeds`: the mean of the values with that key."""
    return lambda group: mean_and_range([result[key] for result in group], digits)


def number(value: float | None, digits: int = 3, missing: str = "", sign: str = "") -> str:
    """A number as a cell; `missing` in place of None; `sign` '+' shows that of positive ones."""
    return missing if value is None else f"{value:{sign}z.{digits}f}"


def decibels(value: float | None) -> str:
    """A PSNR as a cell; that of equal images is None."""
    return number(value, 2, "equal")


def mean_and_range(values: Iterable[float | None], digits: int = 3, sign: str = "") -> str:
    """The mean of the numbers, and the least to the most where they differ, as a cell."""
    numbers = [value for value in values if value is not None]
    if len({round(value, digits) for value in numbers}) < 2:
        return number(numbers[0] if numbers else None, digits, sign=sign)
    means = (statistics.fmean(numbers), min(numbers), max(numbers))
    mean, least, most = (number(value, digits, sign=sign) for value in means)
    return f"{mean} ({least} to {most})"


def column(key: str) -> Callable[[Result], str]:
    """A column of the values with that key."""
    return lambda result: str(result[key])


def grouped(results: Iterable[Result], key: Callable[[Result], Key]) -> dict[Key, list[Result]]:
    """The results with equal keys, in order."""
    groups: dict[Key, list[Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups


def markdown(table: Table) -> list[str]:
    """The lines of the table, with its heading."""
    lines = [f"## {table.title}", "", table.note, "", "| " + " | ".join(table.head) + " |"]
    lines += ["|---|" + "---:|" * (len(table.head) - 1)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in table.rows), ""]


def latex(table: Table) -> list[str]:
    """The lines of a LaTeX table, for the package booktabs; the note is a comment."""
    text = tabulate(
        table.rows,
        table.head,
        tablefmt="latex_booktabs",
        disable_numparse=True,
        colalign=("left", *["right"] * (len(table.head) - 1)),
    )
    return [f"% {table.title}: {table.note}", text, ""]
