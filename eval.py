"""Measures a trained generator: how well it protects, and how well it recovers.

python eval.py                                              # the quickstart's run
python eval.py --config=configs/celeba.py --workdir=DIR --config.data.source=FOLDER
python eval.py --config=configs/celeba.py --workdir=DIR --checkpoint=best

python eval.py --suite=full                                 # all experiments, and their report
python eval.py --suite=pirates,defences                     # some of them

python eval.py --method=raeg,rae,rit,pgd,noise              # the generator beside other methods
python eval.py --method=raeg,rae,rit,pgd,noise --suite=full # with defences, pirates and so on

Give the flags of the training run. `raeg eval` is the same for an installed package;
raeg_jax/cli/evaluate.py has more.
"""

from raeg_jax.process import command_errors

if __name__ == "__main__":
    with command_errors():  # Ctrl-C during these imports, too
        from raeg_jax.cli.evaluate import main
        from raeg_jax.config import command_line

        command_line.run(main)
