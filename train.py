"""Fits a reversible adversarial example generator to a data set, and measures it.

python train.py                                             # the quickstart, no files needed
python train.py --config=configs/celeba.py --workdir=DIR --config.data.source=FOLDER
python train.py --config=configs/caltech101.py:cpu --config.loss.target_psnr=36

`raeg train` is the same for an installed package; raeg_jax/cli/train.py has more.
"""

from raeg_jax import launch
from raeg_jax.cli.train import main

if __name__ == "__main__":
    launch.run(main)
