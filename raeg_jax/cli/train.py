"""Fits a reversible adversarial example generator to a data set, and measures it.

raeg train                                            # the quickstart, no files needed
raeg train --config=celeba --workdir=DIR --config.data.source=FOLDER
raeg train --config=caltech101:cpu --config.loss.target_psnr=36
raeg train --config=my/config.py                      # a Python file of your own

In a clone `python train.py` does the same. The same command resumes a run that was stopped.
The workdir holds the checkpoints, the classifiers, metrics.jsonl, TensorBoard files, and the
results: a table, JSON, a picture.
"""

import pathlib
import sys

from ml_collections import ConfigDict

from raeg_jax.process import EXIT_STOPPED


def main(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Trains and evaluates."""
    # Not before the flags are parsed: mistakes there are reported at once.
    from raeg_jax import evaluation
    from raeg_jax.config.validate import validate
    from raeg_jax.generator.build import check_targets
    from raeg_jax.training.generator import train
    from raeg_jax.training.parallel import check_devices
    from raeg_jax.workdir.processes import claimed, start_multi_host

    if config.multi_host:
        start_multi_host()
    validate(config)
    check_devices(config)
    check_targets(config)
    workdir = workdir.absolute()
    with claimed(workdir):
        run = train(config, workdir)
        if run is None:
            sys.exit(EXIT_STOPPED)
        evaluation.run(config, workdir, run.splits, run.generator, run.classifiers, step=run.step)
