"""Runs experiments one after the other, going on where an earlier run stopped."""

import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ml_collections import ConfigDict

from raeg_jax.bar import ProgressBar
from raeg_jax.config import run_config
from raeg_jax.errors import UserError
from raeg_jax.evaluation.table import SPLITS
from raeg_jax.experiments import (
    defending,
    distortion,
    pirates,
    reading,
    report,
    settings,
    token,
    transfer,
)
from raeg_jax.experiments.store import Store, Unit
from raeg_jax.experiments.subject import Subject
from raeg_jax.workdir.run import open_run

FULL = "full"
FOLDER = "suite"

# In the order in which they are done: the longest last.
EXPERIMENTS: dict[str, Callable[[Subject], Iterable[Unit]]] = {
    "reading": reading.units,
    "defences": defending.units,
    "distortion": distortion.units,
    "transfer": transfer.units,
    "token": token.units,
    "pirates": pirates.units,
}


def choose(names: str) -> list[str]:
    """The experiments that a flag names: 'full' for all, or some with commas between.

    Raises:
      UserError: an unknown one.
    """
    message = "--suite={}: there is no experiment {!r}; choose '{}' or some of {}"
    return pick(names, EXPERIMENTS, message)


def pick(names: str, known: Iterable[str], message: str) -> list[str]:
    """Takes names with commas between, each once; 'full' among them stands for all.

    Args:
      names: of a flag.
      known: all names.
      message: of the error, with places for the flag, the unknown name, 'full' and what is known.

    Raises:
      UserError: an unknown one.
    """
    chosen = [name for given in names.split(",") for name in (known if given == FULL else [given])]
    if unknown := [name for name in chosen if name not in known]:
        raise UserError(message.format(names, unknown[0], FULL, ", ".join(known)))
    return list(dict.fromkeys(chosen))


def evaluate(
    config: ConfigDict, workdir: pathlib.Path, names: str, checkpoint: str = "latest"
) -> pathlib.Path:
    """Does experiments with what a training run left, and writes the report of all that is done.

    Results lie in `workdir/suite`, one file for each unit of an experiment; those that are there
    and come from the same generator, data and settings are not measured again.

    Args:
      config: of the training run; `config.suite` and `config.eval` may differ.
      workdir: folder of the run.
      names: as `choose` takes them.
      checkpoint: 'latest', 'best' or a step.

    Returns:
      The report, a page that needs no other file.

    Raises:
      UserError: an impossible setting, or a workdir without classifiers or checkpoint.
    """
    chosen = choose(names)
    settings.check(config)
    config, params, step, splits, classifiers = open_run(config, workdir, checkpoint)
    folder = workdir / FOLDER
    subject = Subject(
        config,
        splits,
        params,
        classifiers,
        folder / "images",
        dict.fromkeys(SPLITS, config.suite.images),
    )
    come_from = origin(subject, step)
    store = Store(folder, come_from)
    units = {name: list(make(subject)) for name, make in EXPERIMENTS.items()}
    run([unit for name in chosen for unit in units[name]], store)
    found = {
        name: {unit.name: entry for unit in own if (entry := store.find(unit))}
        for name, own in units.items()
    }
    return report.of_suite(folder, subject, found, come_from)


def origin(subject: Subject, step: int | None) -> dict[str, Any]:
    """What results come from, as JSON holds it."""
    shared = run_config.to_json(subject.config)
    return {
        "config": shared["name"],
        "step": step,
        "seed": shared["seed"],
        "data": {
            "name": subject.splits.name,
            "classes": subject.splits.num_classes,
            "fingerprint": subject.splits.fingerprint,
            "image_size": shared["data"]["image_size"],
        },
        "settings": {
            name: shared[name] for name in ("generator", "classifiers", "augment", "eval")
        },
        "versions": run_config.versions(),
    }


def run(units: Sequence[Unit], store: Store) -> None:
    """Does all units that the store lacks.

    A bar shows how many are done and, from the costs of those that this run did, the time left.

    Args:
      units: with names that differ, in the order in which they are done.
      store: of the results.
    """
    left = [unit for unit in units if store.find(unit) is None]
    total, spent, cost = sum(unit.cost for unit in left), 0.0, 0.0
    with ProgressBar(
        total=len(units),
        initial=len(units) - len(left),
        bar_format="{desc} |{bar}| {n_fmt}/{total_fmt} units [{elapsed}{postfix}]",
    ) as bar:
        for unit in left:
            bar.set_description_str(unit.name)
            spent += store.do(unit)["seconds"]
            cost += unit.cost
            bar.set_postfix_str(f"about {duration(spent / cost * (total - cost))} left")
            bar.update()


def duration(seconds: float) -> str:
    """Such as '2 h 05 min', '12 min' or '40 s'."""
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
