"""Workdirs as training leaves them, but of random weights: nothing is trained."""

import jax
import numpy as np

from raeg_jax.generator.unet import unet_from_config
from raeg_jax.networks import classifiers
from raeg_jax.training.optimizers import create_state
from raeg_jax.workdir.checkpoint import Checkpoints
from raeg_jax.workdir.classifiers import save_info, save_weights
from raeg_jax.workdir.origin import classifier_folder, origin_of

SEED = jax.random.key(0)


def draw(shapes, seed, scale=1.0):
    """Normally distributed arrays of these shapes."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda x: scale * random.standard_normal(x.shape, x.dtype), shapes)


def save_classifier(name, splits, config, workdir):
    """Saves a classifier as `fit_classifier` does; returns its variables."""
    module, images = (
        classifiers.build_classifier(name, splits.num_classes),
        np.zeros((1, 32, 32, 3)),
    )
    shapes = jax.eval_shape(lambda: module.init(SEED, images, train=False))
    folder = classifier_folder(workdir, name)
    # Variances of batch norm must be positive.
    variables = jax.tree.map(np.abs, draw(shapes, 9))
    save_weights(folder, variables)
    save_info(folder, {"origin": origin_of(name, splits, config), "accuracy": {}})
    return variables


def save_checkpoints(config, workdir, steps):
    """Saves checkpoints of random generators.

    Args:
      config: the whole configuration.
      workdir: folder of the run.
      steps: step -> (scale of the weights, value of the metric by which one is the best).

    Returns:
      The averaged parameters by step.
    """
    generator = unet_from_config(config.generator)
    shapes = jax.eval_shape(lambda key: create_state(config, generator, None, key), SEED)
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    params = {}
    with Checkpoints(workdir, config.train) as checkpoints:
        for step, (scale, metric) in steps.items():
            params[step] = draw(shapes.ema, step, scale)
            state = state.replace(step=np.int32(step), ema=params[step])
            checkpoints.save(state, {}, config, metrics={config.train.best_metric: metric})
    return params
