"""Writing the generator of a run into one file."""

import pathlib
from collections.abc import Sequence

from raeg_jax import config as config_lib
from raeg_jax.codec.bundle import Bundle, save_bundle
from raeg_jax.evaluation.export import bundle_from_workdir


def export(
    workdir: str | pathlib.Path,
    generator: str | pathlib.Path,
    checkpoint: str = "latest",
    others: Sequence[str] = (),
    stages: Sequence[str] | None = None,
) -> Bundle:
    """Writes a generator file from a run, with the settings that the run saved.

    Args:
      workdir: of the run.
      generator: the file, which must not exist.
      checkpoint: 'latest', 'best' or a step.
      others: classifiers to add, for `raeg verify`.
      stages: of the generator; those of the run by default.

    Raises:
      UserError: as `bundle_from_workdir`, `config.load` and `save_bundle`.
    """
    config = config_lib.load(pathlib.Path(workdir) / config_lib.FILE)
    if stages is not None:
        config.generator.stages = tuple(stages)
    bundle = bundle_from_workdir(config, workdir, checkpoint, others)
    save_bundle(generator, bundle)
    return bundle
