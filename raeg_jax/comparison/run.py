"""Compares methods with one another, going on where an earlier run stopped."""

import pathlib
from collections.abc import Callable, Iterable
from typing import Any

from ml_collections import ConfigDict

from raeg_jax.comparison import defending, distortion, pirates, quality, report
from raeg_jax.comparison.compared import Make
from raeg_jax.comparison.settings import check, choose
from raeg_jax.evaluation.table import SPLITS
from raeg_jax.experiments import settings as suite_settings
from raeg_jax.experiments import suite
from raeg_jax.experiments.reading import aim_at
from raeg_jax.experiments.store import Store, Unit
from raeg_jax.experiments.subject import Subject
from raeg_jax.generator.build import check_targets
from raeg_jax.methods.registry import TITLES
from raeg_jax.workdir.run import open_run

FOLDER = "comparison"

# In the order in which they are done: the longest last.
EXPERIMENTS: dict[str, Callable[..., Iterable[Unit]]] = {
    "quality": quality.units,
    "defences": defending.units,
    "distortion": distortion.units,
    "pirates": pirates.units,
}


def evaluate(
    config: ConfigDict,
    workdir: pathlib.Path,
    methods: str,
    experiments: str = "",
    checkpoint: str = "latest",
) -> pathlib.Path:
    """Compares methods on what a training run left, and writes the report of all that is done.

    Results lie in `workdir/comparison`, one file for each unit of an experiment; those that are
    there and come from the same classifiers, data and settings are not measured again.

    Args:
      config: of the training run; `config.comparison`, `suite` and `eval` may differ.
      workdir: folder of the run.
      methods: of `METHODS`, with commas between.
      experiments: of `EXPERIMENTS`, with commas between, or 'full' for all; 'quality' if empty.
      checkpoint: 'latest', 'best' or a step, of the learned stage.

    Returns:
      The report, a page that needs no other file.

    Raises:
      UserError: an unknown method or experiment, an impossible setting, or a workdir without
        classifiers or checkpoint.
    """
    chosen, wanted = choose(methods), choose_experiments(experiments or "quality")
    check(config)
    suite_settings.check(config)
    config, params, step, splits, classifiers = open_run(config, workdir, checkpoint)
    folder = workdir / FOLDER
    most = dict.fromkeys(SPLITS, 0)
    subject = Subject(config, splits, params, classifiers, folder / "images", most)
    origin = suite.origin(subject, step)
    store, make = Store(folder, origin), Make(subject)
    if "raeg" in chosen:
        # What can't be undone exactly, or can't aim there, is refused now, not after hours.
        aimed = config.copy_and_resolve_references()
        aim_at(aimed, config.comparison.psnr)
        check_targets(aimed)
        make("raeg", config.comparison.psnr).contender()
    suite.run(
        [unit for name in wanted for unit in EXPERIMENTS[name](make, chosen, config.comparison)],
        store,
    )
    found: dict[str, dict[str, Any]] = {}
    for name, units in EXPERIMENTS.items():
        there = {
            unit.name: entry
            for unit in units(make, tuple(TITLES), config.comparison)
            if (entry := store.find(unit))
        }
        if there:
            found[name] = there
    about = origin | {"comparison": config.comparison.to_dict()}
    return report.write(folder, make, found, about)


def choose_experiments(names: str) -> list[str]:
    """The experiments that a flag names.

    Raises:
      UserError: an unknown one.
    """
    return suite.pick(
        names,
        EXPERIMENTS,
        "--suite={}: with --method there is no experiment {!r}; choose '{}' or some of {}",
    )
