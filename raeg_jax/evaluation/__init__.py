"""Measuring protection and recovery on files read back.

results = evaluation.run(config, workdir, splits, generator, classifiers)
scalars = evaluation.quick(generator, targets, images, labels)
"""

from raeg_jax.evaluation.evaluate import run
from raeg_jax.evaluation.split import evaluate_split, quick

__all__ = ["evaluate_split", "quick", "run"]
