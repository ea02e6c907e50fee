"""What an experiment consists of."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from raeg_jax.config.rules import Rule
from raeg_jax.experiments.context import Context
from raeg_jax.experiments.store import Unit
from raeg_jax.experiments.tables import Table

# What `Unit.measure` returned, one after the other.
Results = Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """An experiment: one file of this package and one entry of `registry.EXPERIMENTS`.

    Attributes:
      name: of the flag `--suite`, and of the folder of its results.
      units: its parts, in the order in which they are measured.
      table: of the results that there are, at least one.
      plots: SVG of the same.
      settings: rules of the settings that it alone uses, by name, such as 'suite.psnrs'.
      check: stops with a UserError at settings that are impossible together.
      headline: a method's column of the table of all experiments, from the method's name and the
        results of all methods: cells by name of the row.
      compares: whether it takes `--method`; the others are about the generator alone.
      in_full: whether it belongs to `--suite=full`.
    """

    name: str
    units: Callable[[Context], Iterable[Unit]]
    table: Callable[[Results, Context], Table]
    plots: tuple[Callable[[Results, Context], str], ...] = ()
    settings: Mapping[str, Rule] = dataclasses.field(default_factory=dict)
    check: Callable[[ConfigDict], None] | None = None
    headline: Callable[[str, Results, Context], dict[str, str]] | None = None
    compares: bool = False
    in_full: bool = True
