"""What pirated models learn from ways to protect: which shortcuts poison, and what JPEG leaves.

Each row is a generator: `config.generator` with other stages, and other settings of its shortcut.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from raeg_jax.config.rules import Each, Joined, OneOf
from raeg_jax.errors import UserError
from raeg_jax.experiments.context import Context
from raeg_jax.experiments.experiment import Experiment, Results
from raeg_jax.experiments.pirates import check as check_pirates
from raeg_jax.experiments.pirates import (
    cost,
    model_settings,
    models,
    shares,
    train,
    unit_name,
)
from raeg_jax.experiments.store import OF_GENERATOR, Unit
from raeg_jax.experiments.tables import Table, column, over, over_seeds
from raeg_jax.experiments.training_sets import HONEST, PARTS, TrainingSet, load_images
from raeg_jax.generator.build import check_stages, check_targets, has_patterns

# The row with the run's own patterns.
_LEARNED = "learned"
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
    _LEARNED: (("shortcut",), {"pattern": "learned"}),
}


def _rows(config: ConfigDict) -> list[str]:
    """The rows that `config.suite.poisons.rows` names; if empty, all that the run can have."""
    possible = [row for row in ROWS if row != _LEARNED or has_patterns(config.generator)]
    return list(config.suite.poisons.rows) or possible


def changed(config: ConfigDict, row: str) -> ConfigDict:
    """The configuration of a row."""
    stages, changes = ROWS[row]
    config = config.copy_and_resolve_references()
    if stages:
        psnr = config.generator.gradient.target_psnr
        if stages == ("shortcut",):
            config.generator.shortcut.update({"pattern": "waves", "target_psnr": psnr} | changes)
        elif tuple(config.generator.stages) == ("shortcut",):
            # Its PSNR was that of the whole; a fifth of the squared distance is the attack's.
            config.generator.shortcut.target_psnr = psnr + 1
        config.generator.stages = stages
    return config


def check(config: ConfigDict) -> None:
    """Stops at impossible settings of a row, and at pirates that can't be trained."""
    check_pirates(config)
    if _LEARNED in config.suite.poisons.rows and not has_patterns(config.generator):
        raise UserError(
            f"config.suite.poisons.rows has {_LEARNED!r}, and the run learned no patterns: leave "
            "it out, or train with config.generator.shortcut.pattern='learned'"
        )
    for row in _rows(config):
        check_stages(changed(config, row).generator)
        check_targets(changed(config, row))


def units(context: Context) -> Iterator[Unit]:
    """A unit for each row, defence and model: seed by seed."""
    config = context.run.config
    for seed in range(config.suite.pirates.seeds):
        for row in _rows(config):
            for defence in ("", *config.suite.poisons.defences):
                training_set = _training_set(context, row, defence)
                for model in models(config, training_set, seed):
                    yield Unit(
                        unit_name("poisons", training_set, model, seed),
                        cost(context, training_set, model),
                        functools.partial(measure, context, row, defence, model, seed),
                        model_settings(context, model),
                        () if training_set.of_generator else OF_GENERATOR,
                    )


def _training_set(context: Context, row: str, defence: str) -> TrainingSet:
    images = HONEST if row == HONEST else "raeg"
    load = functools.partial(load_images, context, images, defence)
    return TrainingSet(row, load, defence, of_generator=row != HONEST)


def measure(context: Context, row: str, defence: str, model: str, seed: int) -> dict[str, Any]:
    """Trains one model on a row's files after a defence.

    Returns:
      What `pirates.train` does; and `patterns`, how many the shortcut has: with fewer than there
      are classes some share one.
    """
    run = context.run.with_config(changed(context.run.config, row))
    context = dataclasses.replace(context, run=run)
    result = train(run, context.folder, _training_set(context, row, defence), model, seed)
    patterns = None
    if "shortcut" in ROWS[row][0]:
        patterns = run.chain.stages[0].conditioner.count
    return result | {"patterns": patterns}


def table(results: Results, context: Context) -> Table:
    """A row for each generator, defence and architecture."""
    columns = {
        "generator": column("images"),
        "patterns": lambda r: str(r["patterns"] or ""),
        "defence": lambda r: r["defence"] or "none",
        "model": column("architecture"),
    }
    more: dict[str, Callable[[list[Mapping[str, Any]]], str]] = {
        "seeds": lambda group: str(len(group)),
        "peak": over("peak"),
        "last": over("last"),
        **shares(results),
    }
    note = (
        "Accuracy on clean unseen originals of models trained on the files. Patterns: how many "
        "classes can differ; with fewer than there are classes some share one. The last columns "
        "are shares of the mean of honest models, with the same defence and undefended."
    )
    return over_seeds("Poisons", note, results, columns, more)


EXPERIMENT = Experiment(
    name="poisons",
    units=units,
    table=table,
    settings={
        "suite.poisons.rows": Each(OneOf(ROWS), least=0),
        "suite.poisons.defences": Each(Joined(PARTS), least=0),
    },
    check=check,
    in_full=False,
)
