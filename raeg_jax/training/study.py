"""Trains all variants of a study, against the same classifiers; what is done is not done again."""

import pathlib
import time

import jax
from ml_collections import ConfigDict

from raeg_jax import data
from raeg_jax.compilation import duration
from raeg_jax.config import run_config
from raeg_jax.generator.build import has_patterns
from raeg_jax.training.generator import train
from raeg_jax.training.loop import DivergedError
from raeg_jax.workdir.checkpoint import FOLDER, Checkpoints
from raeg_jax.workdir.origin import info_of
from raeg_jax.workdir.patterns import patterns_folder
from raeg_jax.workdir.processes import say
from raeg_jax.workdir.study import StudyRun, seed_folder, seeded, share_classifiers, study_runs


def train_study(config: ConfigDict, workdir: pathlib.Path) -> bool:
    """Trains the classifiers of each seed, then all variants.

    Call it while the workdir is claimed (`processes.claimed`), with configs that were validated. A
    variant that diverges doesn't stop the others, and is tried again the next time.

    Args:
      config: of the study.
      workdir: its folder, absolute.

    Returns:
      Whether all is trained; False if a signal stopped it, with a checkpoint saved.

    Raises:
      UserError: missing data, a workdir of another study.
    """
    runs = study_runs(config, workdir)
    missing = [run for run in runs if not is_trained(run)]
    say(f"{len(runs)} runs: {len(runs) - len(missing)} trained, {len(missing)} to go")
    splits = data.load(config.data)
    # Also where all runs are trained: the report needs them.
    for seed in config.ablation.seeds:
        without = seeded(config, seed)
        without.generator.stages = ("gradient",)
        if train(without, seed_folder(workdir, seed), splits) is None:
            return False
    started = time.monotonic()
    for number, run in enumerate(missing):
        left = ""
        if number:
            each = (time.monotonic() - started) / number
            left = f", about {duration(each * (len(missing) - number))} left"
        done = len(runs) - len(missing) + number + 1
        say(f"run {done} of {len(runs)}: {run.variant}, seed {run.seed}{left}")
        share_classifiers(run)
        try:
            if train(run.config, run.folder, splits) is None:
                return False
        except DivergedError as error:
            say(f"note: {run.variant}, seed {run.seed}: {error}")
        # Programs of a variant serve no other.
        jax.clear_caches()
    return True


def is_trained(run: StudyRun) -> bool:
    """Whether a run has taken all its steps, with the settings that it has now."""
    if has_patterns(run.config.generator) and not info_of(patterns_folder(run.folder)):
        return False
    if "learned" not in run.config.generator.stages:
        # Whatever else it needs is trained with the classifiers.
        return (run.folder / run_config.FILE).exists()
    if not (run.folder / FOLDER).is_dir():
        return False
    with Checkpoints(run.folder, run.config.train, writable=False) as checkpoints:
        steps = checkpoints.steps()
        if not steps or steps[-1] < run.config.train.steps:
            return False
        return not any(run_config.classify_changes(checkpoints.meta()["config"], run.config))
