"""From a run's workdir to a generator that can be written to one file."""

import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from raeg_jax.assembly import check_targets
from raeg_jax.evaluation import workdir as workdir_lib
from raeg_jax.protection.loaded_generator import LoadedGenerator
from raeg_jax.training import classifier as classifier_lib


def bundle_from_workdir(
    config: ConfigDict,
    workdir: str | pathlib.Path,
    checkpoint: str = "latest",
    others: Sequence[str] = (),
) -> LoadedGenerator:
    """Takes the generator out of a workdir; needs no data.

    Args:
      config: as for `evaluate_workdir`: the configuration of the training run, in which stages and
        settings of those that aren't trained may differ.
      workdir: folder of the run.
      checkpoint: 'latest', 'best' or a step, of the learned stage.
      others: classifiers to add to those that stages need, for looking at results.

    Raises:
      UserError: the workdir, its checkpoint or a classifier is missing or of another config.
    """
    workdir = pathlib.Path(workdir)
    params = None
    if "learned" in config.generator.stages:
        config, params, _ = workdir_lib.restore(config, workdir, checkpoint)
        # From all devices to one, as the classifiers are.
        params = jax.tree.map(jnp.asarray, jax.device_get(params))
    else:
        workdir_lib.check_no_checkpoint(config, checkpoint)
    check_targets(config)
    workdir_lib.check_classifiers(workdir)
    targets = config.classifiers.targets
    # Every run has classifiers: they know which classes its data have.
    known = classifier_lib.trained_on(targets[0], workdir)
    wanted = config.copy_and_resolve_references()
    # Other stages want their gradients, or the class that they read where nobody says it.
    learned = tuple(config.generator.stages) == ("learned",)
    wanted.classifiers.targets = () if learned else tuple(targets)
    wanted.classifiers.held_out = tuple(
        name for name in others if name not in wanted.classifiers.targets
    )
    classifiers = classifier_lib.load_classifiers(wanted, known, workdir)
    return LoadedGenerator(config, known.class_names, params, classifiers)
