"""Fits a reversible adversarial example generator to a data set, and measures it.

python train.py                                             # the quickstart, no files needed
python train.py --config=configs/celeba.py --workdir=DIR --config.data.source=FOLDER
python train.py --config=configs/caltech101.py:cpu --config.loss.target_psnr=36

The same command goes on with a run that was stopped. The workdir holds the checkpoints, the
classifiers, metrics.jsonl, TensorBoard files, and the results: a table, JSON, a picture.
"""

import pathlib
import sys

from ml_collections import ConfigDict

from raeg_jax import launch

# EX_TEMPFAIL of sysexits.h: a signal stopped the run, the same command goes on with it.
STOPPED = 75


def main(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Trains and evaluates."""
    # Not before the flags are parsed: mistakes there are told at once.
    from raeg_jax.training.loop import train

    if train(config, workdir) is None:
        sys.exit(STOPPED)


if __name__ == "__main__":
    launch.run(main, __file__)
