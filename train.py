"""Fits a reversible adversarial example generator to a data set, and measures it.

python train.py                                             # the quickstart, no files needed
python train.py --config=configs/celeba.py --workdir=DIR --config.data.source=FOLDER
python train.py --config=configs/caltech101.py:cpu --config.loss.target_psnr=36

`raeg train` is the same for an installed package; raeg_jax/cli/train.py has more.
"""

from raeg_jax.process import command_errors

if __name__ == "__main__":
    with command_errors():  # Ctrl-C during these imports, too
        from raeg_jax.cli.train import main
        from raeg_jax.config import command_line

        command_line.run(main)
