"""Fits a reversible adversarial example generator to a data set, and measures it.

raeg train                                            # the quickstart, no files needed
raeg train --config=celeba --workdir=DIR --config.data.source=FOLDER
raeg train --config=caltech101:cpu --config.loss.target_psnr=36
raeg train --config=my/config.py                      # a Python file of your own
raeg train --config=ablation:coupling,smoke           # a study: many runs, one report

In a clone `python train.py` does the same. The same command resumes a run that was stopped.
The workdir holds the checkpoints, the classifiers, metrics.jsonl, TensorBoard files, and the
results: a table, JSON, a picture.
"""

import contextlib
import pathlib
import sys

from ml_collections import ConfigDict

from raeg_jax.process import EXIT_STOPPED


def main(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Trains and evaluates."""
    # Not before the flags are parsed: mistakes there are reported at once.
    from raeg_jax.workdir.processes import several_hosts

    with several_hosts() if config.multi_host else contextlib.nullcontext():
        _train(config, workdir)


def _train(config: ConfigDict, workdir: pathlib.Path) -> None:
    from raeg_jax import evaluation
    from raeg_jax.config.validate import validate
    from raeg_jax.generator.build import check_targets
    from raeg_jax.training.generator import train
    from raeg_jax.training.parallel import check_devices
    from raeg_jax.training.study import train_study
    from raeg_jax.workdir.processes import claimed, say
    from raeg_jax.workdir.study import is_study, study_runs

    validate(config)
    workdir = workdir.absolute()
    runs = study_runs(config, workdir) if is_study(config) else []
    for one in [run.config for run in runs] or [config]:
        validate(one)
        check_devices(one)
        check_targets(one)
    with claimed(workdir):
        if runs:
            if not train_study(config, workdir):
                sys.exit(EXIT_STOPPED)
            if config.multi_host:
                say("all is trained; eval.py with the same --config and --workdir reports")
                return
            from raeg_jax.experiments.ablation import report_study

            print(f"Written to {report_study(config, workdir)}")
            return
        run = train(config, workdir)
        if run is None:
            sys.exit(EXIT_STOPPED)
        evaluation.run(config, workdir, run.splits, run.generator, run.classifiers, step=run.step)
