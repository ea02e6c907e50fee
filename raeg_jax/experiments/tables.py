"""Tables of a report, and the cells of which they consist."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

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
    scores: Mapping[str, tuple[str, str]],
) -> Table:
    """A table with a row for each result.

    Args:
      title: heading.
      note: what the numbers mean.
      results: with `classifiers`, as `scores.scores` makes them; empty of a method without files.
      columns: cells by head.
      scores: a score ('accuracy' or 'attack_success') and a kind of images each, by head with '{}'
        in place of the classifier.
    """
    names = next((tuple(r["classifiers"]) for r in results if r["classifiers"]), ())
    rows = [
        (*(cell(result) for cell in columns.values()), *_score_cells(result, names, scores))
        for result in results
    ]
    head = (*columns, *(text.format(name) for text in scores for name in names))
    return Table(title, note, head, rows)


def _score_cells(result, names, scores) -> list[str]:
    classifiers = result["classifiers"]
    return [
        number(classifiers[name][score].get(kind)) if name in classifiers else ""
        for score, kind in scores.values()
        for name in names
    ]


def number(value: float | None, digits: int = 3, missing: str = "") -> str:
    """A number as a cell; `missing` in place of None."""
    return missing if value is None else f"{value:.{digits}f}"


def decibels(value: float | None) -> str:
    """A PSNR as a cell; that of equal images is None."""
    return number(value, 2, "equal")


def mean_and_range(values: Iterable[float | None], digits: int = 3) -> str:
    """The mean of the numbers, and the least to the most where they differ, as a cell."""
    numbers = [value for value in values if value is not None]
    if len({round(value, digits) for value in numbers}) < 2:
        return number(numbers[0] if numbers else None, digits)
    mean, least, most = statistics.fmean(numbers), min(numbers), max(numbers)
    return f"{mean:.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"


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
