"""Measuring protection and recovery on files read back.

results = evaluation.run(config, workdir, splits, generator, params, classifiers)
scalars = evaluation.quick(generator, params, target_logits_fns, images, labels)
"""

from raeg_jax.evaluation.compiled import FrozenClassifier
from raeg_jax.evaluation.evaluate import run
from raeg_jax.evaluation.protection import evaluate_split, quick

__all__ = ["FrozenClassifier", "evaluate_split", "quick", "run"]
