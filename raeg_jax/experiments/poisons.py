"""What pirated models learn from ways to protect: which shortcuts poison, and what JPEG leaves.

Each row is a generator: `config.generator` with other stages, and other settings of its shortcut.
"""

import functools
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from raeg_jax.adversarial.distortions import DEFENCES
from raeg_jax.config.rules import Each, OneOf
from raeg_jax.experiments.context import Context, ProtectedSet
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
from raeg_jax.experiments.tables import Table, grouped, mean_and_range
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
    run = context.run.with_config(config)
    most = {"train": config.suite.pirates.images}
    leaked = ProtectedSet(run, "raeg", None, 0, most, context.folder / "images")

    def load() -> Images:
        if row == HONEST:
            originals, labels = leaked.candidates("train")
            images = leaked.change(originals, DEFENCES[defence])
        else:
            originals, labels = leaked.originals("train")
            images = defended(leaked, defence)
        return Images(images, originals, labels)

    patterns = None
    if "shortcut" in ROWS[row][0]:
        patterns = shortcut_stage(config).conditioner.count
    model = train(run, context.folder, TrainingSet(row, load), architecture, seed)
    return model | {"defence": defence, "patterns": patterns}


def table(results: Results, context: Context) -> Table:
    """Mean (least to most) over the seeds."""
    groups = grouped(
        results, lambda r: (r["images"], r["patterns"], r["defence"], r["architecture"])
    )
    rows = [
        (
            row,
            str(patterns or ""),
            defence,
            architecture,
            str(len(group)),
            *(mean_and_range([result[score] for result in group]) for score in ("peak", "last")),
        )
        for (row, patterns, defence, architecture), group in groups.items()
    ]
    head = ("generator", "patterns", "defence", "model", "seeds", "peak", "last")
    note = (
        "Accuracy on clean unseen originals of models trained on the files. Patterns: how many "
        "classes can differ; with fewer than there are classes some share one."
    )
    return Table("Poisons", note, head, rows)


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
