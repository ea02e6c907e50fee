"""Runs experiments one after the other, and resumes where an earlier run stopped."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from raeg_jax.compilation import ProgressBar, duration
from raeg_jax.config import run_config
from raeg_jax.data.cache import digest_of
from raeg_jax.errors import UserError
from raeg_jax.evaluation.readers import Reader
from raeg_jax.evaluation.trained_run import TrainedRun, aim_at
from raeg_jax.experiments import report
from raeg_jax.experiments.context import Context
from raeg_jax.experiments.registry import EXPERIMENTS, check_settings, choose
from raeg_jax.experiments.store import Store, Unit
from raeg_jax.generator.build import check_targets
from raeg_jax.methods.registry import TITLES
from raeg_jax.workdir.processes import claimed
from raeg_jax.workdir.run import open_run


def run_experiments(
    config: ConfigDict,
    workdir: pathlib.Path,
    experiments: str = "",
    methods: str | None = None,
    checkpoint: str = "latest",
    readers: Mapping[str, Reader] | None = None,
) -> pathlib.Path:
    """Does experiments with what a training run left, and writes the report of all that is done.

    Results lie in `workdir/suite`, of methods that are compared in `workdir/comparison`, one file
    for each unit of an experiment; those that are there and come from the same generator, data and
    settings are not measured again.

    Args:
      config: of the training run; `config.suite`, `comparison` and `eval` may differ.
      workdir: folder of the run.
      experiments: of `EXPERIMENTS`, with commas between, or 'full'; 'quality' if empty.
      methods: of `METHODS`, with commas between, to compare at `config.comparison.psnr`; None for
        the run's generator at its own PSNR.
      checkpoint: 'latest', 'best' or a step, of the learned stage.
      readers: others that read the images too, by name. What was measured with other readers is
        measured again.

    Returns:
      The report, a page that needs no other file.

    Raises:
      UserError: an unknown experiment or method, an impossible setting, or a workdir without
        classifiers or checkpoint.
    """
    compared = methods is not None
    names = ("raeg",) if methods is None else choose_methods(methods)
    chosen = choose(experiments or "quality", compared)
    check_settings(config, chosen)
    config, params, step, splits, classifiers, patterns = open_run(config, workdir, checkpoint)
    run = TrainedRun(config, splits, params, classifiers, readers or {}, patterns)
    folder = workdir / ("comparison" if compared else "suite")
    context = Context(run, folder, names, compared)
    if compared and "raeg" in names:
        # A generator that isn't exact, or can't aim there, stops now and not after hours.
        aimed = config.copy_and_resolve_references()
        aim_at(aimed, config.comparison.psnr)
        check_targets(aimed)
        context.protected("raeg", context.psnr).protector()
    origin = origin_of(run, step)
    store = Store(folder, origin)
    measure([unit for experiment in chosen for unit in experiment.units(context)], store)
    # Of all methods, also those of earlier runs.
    if compared:
        context = Context(run, folder, tuple(TITLES), compared)
    entries = {
        name: {unit.name: entry for unit in each.units(context) if (entry := store.find(unit))}
        for name, each in EXPERIMENTS.items()
        if each.compares or not compared
    }
    about = origin | {"comparison": config.comparison.to_dict()} if compared else origin
    return report.write(context, entries, about)


def choose_methods(names: str) -> tuple[str, ...]:
    """The methods that `--method` names, with commas between.

    Raises:
      UserError: an unknown one.
    """
    chosen = tuple(dict.fromkeys(names.split(",")))
    if unknown := [name for name in chosen if name not in TITLES]:
        raise UserError(
            f"--method={names}: there is no method {unknown[0]!r}; choose some of "
            f"{', '.join(TITLES)}"
        )
    return chosen


def origin_of(run: TrainedRun, step: int | None) -> dict[str, Any]:
    """What results come from, as JSON holds it."""
    settings = run_config.to_json(run.config)
    published = {name: reader.describe() for name, reader in run.published.items()}
    # Where files lie, which changes no result.
    settings["classifiers"].pop("weights", None)
    patterns = {} if run.patterns is None else {"patterns": digest_of(run.patterns.tobytes())}
    return {
        **patterns,
        **({"published": published} if published else {}),
        "config": settings["name"],
        "step": step,
        "seed": settings["seed"],
        "data": {
            "name": run.splits.name,
            "classes": run.splits.num_classes,
            "fingerprint": run.splits.fingerprint,
            "image_size": settings["data"]["image_size"],
        },
        "settings": {
            name: settings[name] for name in ("generator", "classifiers", "augment", "eval")
        },
        "versions": run_config.versions(),
    }


def measure(units: Sequence[Unit], store: Store) -> None:
    """Measures all units that the store lacks.

    A bar shows how many are done and, from the costs of those that this run measured, the time
    left.

    Args:
      units: with names that differ, in the order in which they are measured.
      store: of the results.

    Raises:
      UserError: another process is measuring there.
    """
    missing = [unit for unit in units if store.find(unit) is None]
    total, spent, cost = sum(unit.cost for unit in missing), 0.0, 0.0
    with (
        claimed(store.folder),
        ProgressBar(
            total=len(units),
            initial=len(units) - len(missing),
            bar_format="{desc} |{bar}| {n_fmt}/{total_fmt} units [{elapsed}{postfix}]",
        ) as bar,
    ):
        for unit in missing:
            bar.set_description_str(unit.name)
            spent += store.measure(unit)["seconds"]
            cost += unit.cost
            bar.set_postfix_str(f"about {duration(spent / cost * (total - cost))} left")
            bar.update()
