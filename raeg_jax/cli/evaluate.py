"""Measures a trained generator: how well it protects, and how well it recovers.

raeg eval                                             # the quickstart's run
raeg eval --config=celeba --workdir=DIR --config.data.source=FOLDER
raeg eval --config=celeba --workdir=DIR --checkpoint=best

raeg eval --suite=full                                # all experiments, and their report
raeg eval --suite=pirates,defences                    # some of them

raeg eval --method=raeg,rae,rit,pgd,noise             # the generator beside other methods
raeg eval --method=raeg,rae,rit,pgd,noise --suite=full  # with defences, pirates and so on

raeg eval --reader=FILE.safetensors --reader=FILE.onnx  # published networks and yours read, too

In a clone `python eval.py` does the same. Give the flags of the training run. Prints a table for
training and for test images and writes results.json, results.md, images.csv and grid.png into the
workdir; with another checkpoint than the latest results-best.json or results-<step>.json, and so
on. Results of other stages that were there are renamed, such as to results-learned.json. Two runs
give equal numbers.

With `--suite` experiments (docs/protocol.md) are done instead, and the same command resumes a suite
that was stopped; workdir/suite has their results and report.html. With `--method` the generator's
files, payload inside, are compared with those of other methods at equal PSNR (docs/comparison.md);
workdir/comparison has the results. With `--reader`, which goes with all of these, models that have
nothing to do with the run read the images too, each through its own preprocessing
(docs/published.md).

With the config of a study, such as --config=ablation:coupling, all its runs are measured and
compared (docs/ablations.md); workdir/ablation has the report.
"""

import contextlib
import pathlib

from absl import flags
from ml_collections import ConfigDict

from raeg_jax.errors import UserError

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "latest", "'latest', 'best' (by config.train.best_metric) or a step's number."
)
_SUITE = flags.DEFINE_string(
    "suite", "", "'full', or experiments with commas between; docs/protocol.md lists them."
)
_METHOD = flags.DEFINE_string(
    "method", None, "Methods to compare, with commas between: raeg, rae, rit, pgd, noise."
)
_READER = flags.DEFINE_multi_string(
    "reader", [], "A file of published weights or an ONNX model that reads the images too."
)
_PREPROCESS = flags.DEFINE_string(
    "preprocess", "", "What ONNX models expect, such as resize=256,crop=224,mean=127:127:127."
)


def main(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Evaluates; trains nothing."""
    # Not before the flags are parsed: mistakes there are reported at once.
    from raeg_jax.workdir.processes import check_one_process, several_hosts
    from raeg_jax.workdir.study import is_study

    if _METHOD.value is not None or _SUITE.value or is_study(config):
        check_one_process("--suite, --method or the report of a study")
        _evaluate(config, workdir)
        return
    with several_hosts() if config.multi_host else contextlib.nullcontext():
        _evaluate(config, workdir)


def _evaluate(config: ConfigDict, workdir: pathlib.Path) -> None:
    from raeg_jax.config.validate import validate
    from raeg_jax.evaluation.readers import open_readers
    from raeg_jax.workdir.study import is_study

    validate(config)
    names = (*config.classifiers.targets, *config.classifiers.held_out)
    readers = open_readers(_READER.value, _PREPROCESS.value, names)
    if is_study(config):
        from raeg_jax.experiments.ablation import report_study

        if _METHOD.value is not None or _SUITE.value or _CHECKPOINT.value != "latest":
            raise UserError(
                "--suite, --method and --checkpoint go with a run, and this config is of a study: "
                "leave them out, or name a run's own config and workdir"
            )
        print(f"Written to {report_study(config, workdir.absolute(), readers)}")
        return
    if _METHOD.value is not None or _SUITE.value:
        from raeg_jax.experiments.runner import run_experiments

        page = run_experiments(
            config, workdir, _SUITE.value, _METHOD.value, _CHECKPOINT.value, readers
        )
        print(f"Written to {page}")
        return
    from raeg_jax import evaluation
    from raeg_jax.workdir.run import open_run

    checkpoint = _CHECKPOINT.value
    run = open_run(config, workdir, checkpoint)
    # Each checkpoint has results of its own, the latest and the best under these names.
    name = checkpoint if checkpoint in ("latest", "best") else str(run.step)
    evaluation.run(
        run.config, workdir, run.splits, run.generator, run.classifiers,
        readers=readers, checkpoint=name, step=run.step,
    )  # fmt: skip
