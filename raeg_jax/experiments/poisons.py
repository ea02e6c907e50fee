"""What pirated models learn from ways to protect: which shortcuts poison, and what JPEG leaves.

Each row is a generator: `config.generator` with other stages, and other settings of its shortcut.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from raeg_jax.adversarial.distortions import DEFENCES
from raeg_jax.config.rules import Each, OneOf
from raeg_jax.experiments.context import Context
from raeg_jax.experiments.experiment import Experiment, Results
from raeg_jax.experiments.pirates import (
    HONEST,
    Images,
    TrainingSet,
    defended,
    model_settings,
    train,
)
from raeg_jax.experiments.store import Unit
from raeg_jax.experiments.tables import Table, column, over, over_seeds
from raeg_jax.generator.build import check_stages, check_targets, shortcut_stage

_LONG = {"period": 32, "cycles": (2, 3)}
# Stages, and what differs in `config.generator.shortcut`, which alone takes the whole distance.
ROWS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    HONEST: ((), {}),
    "gradient": (("gradient",), {}),
    "both": (("shortcut", "gradient"), {}),
    "waves": (("shortcut",), {}),
    "two waves each": (("shortcut",), {"waves": 2}),
    "all colours": (("shortcut",), {"colours": ("grey", "red_green", "blue_yellow")}),
    "grey": (("shortcut",), {"colours": ("grey",)}),
    "cells": (("shortcut",), {"pattern": "cells"}),
    "long waves": (("shortcut",), _LONG),
    "long grey waves": (("shortcut",), _LONG | {"colours": ("grey",)}),
}


def _rows(config: ConfigDict) -> list[str]:
    """The rows that `config.suite.poisons.rows` names; all if empty."""
    return list(config.suite.poisons.rows) or list(ROWS)


def changed(config: ConfigDict, row: str) -> ConfigDict:
    """The configuration of a row."""
    stages, changes = ROWS[row]
    config = config.copy_and_resolve_references()
    if stages:
        config.generator.stages = stages
        config.generator.shortcut.update(changes)
        if stages == ("shortcut",):
            config.generator.shortcut.target_psnr = config.generator.gradient.target_psnr
    return config


def check(config: ConfigDict) -> None:
    """Stops at impossible settings of a row."""
    for row in _rows(config):
        check_stages(changed(config, row).generator)
        check_targets(changed(config, row))


def units(context: Context) -> Iterator[Unit]:
    """A unit for each row and defence: seed by seed."""
    config = context.run.config
    settings = config.suite.pirates
    for seed in range(settings.seeds):
        for row in _rows(config):
            for defence in ("none", *config.suite.poisons.defences):
                for architecture in settings.architectures:
                    yield Unit(
                        f"poisons/{row.replace(' ', '_')}-{defence}-{architecture}-{seed}",
                        settings.steps,
                        functools.partial(measure, context, row, defence, architecture, seed),
                        model_settings(context),
                    )


def measure(
    context: Context, row: str, defence: str, architecture: str, seed: int
) -> dict[str, Any]:
    """Trains one model on a row's files after a defence.

    Returns:
      What `pirates.train` does; `defence`; and `patterns`, how many the shortcut has: with fewer
      than there are classes some share one.
    """
    config = changed(context.run.config, row)
    context = dataclasses.replace(context, run=context.run.with_config(config))
    leaked = context.leaked("raeg")

    def load() -> Images:
        if row == HONEST:
            originals, labels = leaked.candidates()
            images = leaked.change(originals, DEFENCES[defence])
        else:
            originals, labels = leaked.originals()
            images = defended(leaked, defence)
        return Images(images, originals, labels)

    patterns = None
    if "shortcut" in ROWS[row][0]:
        patterns = shortcut_stage(config, context.run.patterns).conditioner.count
    model = train(context.run, context.folder, TrainingSet(row, load), architecture, seed)
    return model | {"defence": defence, "patterns": patterns}


def table(results: Results, context: Context) -> Table:
    """A row for each generator, defence and architecture."""
    columns = {
        "generator": column("images"),
        "patterns": lambda r: str(r["patterns"] or ""),
        "defence": column("defence"),
        "model": column("architecture"),
    }
    more = {"seeds": lambda group: str(len(group)), "peak": over("peak"), "last": over("last")}
    note = (
        "Accuracy on clean unseen originals of models trained on the files. Patterns: how many "
        "classes can differ; with fewer than there are classes some share one."
    )
    return over_seeds("Poisons", note, results, columns, more)


EXPERIMENT = Experiment(
    name="poisons",
    units=units,
    table=table,
    settings={
        "suite.poisons.rows": Each(OneOf(ROWS), least=0),
        "suite.poisons.defences": Each(OneOf(DEFENCES), least=0),
    },
    check=check,
    in_full=False,
)
