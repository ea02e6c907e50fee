"""Writes the generator of a run into one file, and says what the run measured of it."""

import pathlib
from collections.abc import Sequence

from ml_collections import ConfigDict

from raeg_jax.cli.report import counted
from raeg_jax.config import run_config
from raeg_jax.config.validate import validate
from raeg_jax.evaluation import result_files, split
from raeg_jax.protection.loaded_generator import LoadedGenerator, save_generator
from raeg_jax.workdir.run import generator_from_workdir

# A generator of a lower attack success on every classifier protects nothing.
_LEAST_SUCCESS = 0.05


def export(
    workdir: str | pathlib.Path,
    generator: str | pathlib.Path,
    checkpoint: str = "latest",
    classifiers: Sequence[str] = (),
    stages: Sequence[str] | None = None,
) -> LoadedGenerator:
    """Writes a generator file from a run, with the settings that the run saved.

    Args:
      workdir: of the run.
      generator: the file, which must not exist.
      checkpoint: 'latest', 'best' or a step.
      classifiers: to add, for `raeg verify`.
      stages: of the generator; those of the run by default.

    Raises:
      UserError: as `generator_from_workdir`, `run_config.load` and `save_generator`.
    """
    config = run_config.load(pathlib.Path(workdir) / run_config.FILE)
    if stages is not None:
        config.generator.stages = tuple(stages)
    validate(config)
    loaded = generator_from_workdir(config, workdir, checkpoint, classifiers)
    save_generator(generator, loaded)
    return loaded


def effect(
    workdir: str | pathlib.Path, config: ConfigDict, checkpoint: str
) -> tuple[list[str], list[str]]:
    """Says what the evaluation of a run measured of its generator.

    Args:
      workdir: of the run.
      config: of the generator.
      checkpoint: 'latest', 'best' or a step.

    Returns:
      what was measured, or that nothing was; and warnings, of a generator that misleads no
      classifier or has diverged.
    """
    results = result_files.find(pathlib.Path(workdir), config, checkpoint)
    if results is None:
        unknown = (
            f"what it does to classifiers is unknown: {workdir} has no results of it, which "
            "eval.py makes"
        )
        return [unknown], []
    test = results["splits"]["test"]
    psnr = test["quality"]["protected"]["psnr"]
    quality = "equal to their originals" if psnr is None else f"{psnr:.1f} dB"
    at = "" if results["step"] is None else f" of step {results['step']}"
    lines = [
        f"results{at} on {counted(test['images'], 'test image')}: protected ones are {quality}"
    ]
    success = []
    for name, read in test["classifiers"].items():
        before, after = (read["accuracy"][kind] for kind in ("original", "protected"))
        role = read["role"].replace("_", " ")
        lines.append(
            f"{name} ({role}) reads {after:.0%} of the protected images as their originals"
            if read.get("reference") == "original"
            else f"{name} ({role}) reads {before:.0%} right before protection, {after:.0%} after"
        )
        if read["role"] != "reader":
            success.append(read["attack_success"]["protected"] or 0.0)
    warnings = []
    if max(success) < _LEAST_SUCCESS:
        warnings.append(
            f"this generator misleads no classifier (at most {max(success):.1%} of what it read "
            "right), so its images are hardly protected: train it longer, or with a lower "
            "config.loss.target_psnr"
        )
    if diverged := split.divergence_of(test, config):
        warnings.append(diverged)
    return lines, warnings
