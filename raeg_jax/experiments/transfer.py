"""Black box: what generators made against some classifiers do to others."""

import functools
from collections.abc import Iterator
from typing import Any

from raeg_jax.evaluation.protectors import protector_of
from raeg_jax.evaluation.scores import measure_kinds
from raeg_jax.experiments.context import Context
from raeg_jax.experiments.experiment import Experiment, Results
from raeg_jax.experiments.store import Unit
from raeg_jax.experiments.tables import Table, decibels, table_of


def units(context: Context) -> Iterator[Unit]:
    """A unit for each set of attacked classifiers.

    A learned generator was trained against one set; a gradient stage attacks any: each classifier
    alone, the targets, and all, if they have the same classes.
    """
    run, most = context.run, context.run.config.suite.images
    sets = [run.targets]
    stages = run.config.generator.stages
    if "gradient" in stages and "learned" not in stages:
        names = tuple(run.frozen)
        kinds = {len(run.class_names[name]) for name in run.published}
        sets = [(name,) for name in names] + sets
        if len(run.published) in (0, len(names)) and len(kinds) <= 1:
            sets.append(names)
    for attacked in dict.fromkeys(sets):
        yield Unit(
            f"transfer/{'+'.join(attacked)}",
            (most or 1000) * 0.3,
            functools.partial(measure, context, attacked),
            {"images": most} | context.read_by,
        )


def measure(context: Context, attacked: tuple[str, ...]) -> dict[str, Any]:
    """Protects against some classifiers and classifies with all.

    Returns:
      `attacked`, and what `measure_kinds` measures of the files, 'protected'.
    """
    run = context.run
    config = run.config.copy_and_resolve_references()
    config.classifiers.targets = attacked
    images, labels = run.images("test", config.suite.images)
    size = run.batch_size(labels)
    chain = run.with_config(config).chain
    protector = protector_of(config, run.splits.class_names, chain, run.classifiers, size)

    def protect(index, originals, truth):
        return {"protected": protector.protect(index, originals, truth).images}

    result, _ = measure_kinds(run.read_by, protect, images, labels, size)
    return result | {"attacked": list(attacked)}


def table(results: Results, context: Context) -> Table:
    """A row for each set of attacked classifiers."""
    columns = {
        "attacked": lambda result: ", ".join(result["attacked"]),
        "PSNR, dB": lambda result: decibels(result["psnr"]["protected"]),
    }
    scores = {"{}": ("accuracy", "protected"), "{} success": ("attack_success", "protected")}
    note = "Unseen images; rows are generators. Accuracy on their files, and attack success."
    return table_of("Black box", note, results, columns, scores)


EXPERIMENT = Experiment(name="transfer", units=units, table=table)
