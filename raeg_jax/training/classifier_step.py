"""One training step of a classifier, written for one device."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from raeg_jax.training.parallel import StepFn
from raeg_jax.workdir.processes import AXIS

# Length of the attack's only step, in units of its radius: the best of its authors' experiments.
_ATTACK_STEP = 1.25


def make_classifier_step(
    module: nn.Module,
    optimizer: optax.GradientTransformation,
    label_smoothing: float,
    adversarial: float = 0.0,
    seed: int = 0,
) -> StepFn:
    """Makes the step of a classifier; batch statistics are per device, then averaged.

    Args:
      module: called with images float32 [b, H, W, 3] and `train`.
      optimizer: of the parameters; where `adversarial`, it must count its steps.
      label_smoothing: share of the truth that all classes have equally.
      adversarial: largest change of a value, in pixel units, by which each image is attacked first;
        0 for none. One step of FGSM from a random start (Wong et al., arXiv 2001.03994).
      seed: of the random starts.

    Returns:
      (state, unused, batch) -> (state, metrics) for `parallel.ParallelStep`. The state has the
      module's collections and `opt_state`; batches are as `data.TrainIterator` makes them.
    """

    def apply(state, params, images):
        variables = {**state, "params": params}
        variables.pop("opt_state")
        return module.apply(variables, images, train=True, mutable=["batch_stats"])

    def attack(state, images, truth):
        count = optax.tree_utils.tree_get_all_with_path(state["opt_state"], "count")[0][1]
        key = jax.random.fold_in(jax.random.key(seed), count)
        # A start depends on the image's index in the global batch, not on the number of devices.
        index = jax.lax.axis_index(AXIS) * len(images) + jnp.arange(len(images))

        def loss_of(seen):
            return _loss(apply(state, state["params"], seen)[0], truth)

        return jnp.clip(images + find_attack(key, images, index, adversarial, loss_of), 0, 255)

    def step(state, frozen, batch):
        del frozen
        images = batch["image"].astype(jnp.float32)
        classes = jax.eval_shape(apply, state, state["params"], images)[0].shape[-1]
        truth = optax.smooth_labels(_truth(batch, classes), label_smoothing)
        if adversarial:
            images = attack(state, images, truth)

        def objective(params):
            logits, updated = apply(state, params, images)
            accuracy = (logits.argmax(-1) == batch["label"]).mean()
            return _loss(logits, truth), (updated, accuracy)

        (loss, (updated, accuracy)), grads = jax.value_and_grad(objective, has_aux=True)(
            state["params"]
        )
        grads, updated, metrics = jax.lax.pmean(
            (grads, updated, {"loss": loss, "accuracy": accuracy}), AXIS
        )
        changes, opt_state = optimizer.update(grads, state["opt_state"], state["params"])
        params = optax.apply_updates(state["params"], changes)
        return {**state, **updated, "params": params, "opt_state": opt_state}, metrics

    return step


def find_attack(
    key: jax.Array,
    images: jax.Array,
    index: jax.Array,
    radius: float,
    loss_of: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """The change of images by one step of FGSM from a random start (Wong et al., arXiv 2001.03994).

    Args:
      key: of the starts.
      images: float32 [b, H, W, 3] in pixel units.
      index: int32 [b], each image's index in the global batch.
      radius: largest change of a value, in pixel units.
      loss_of: maps images to the loss, a scalar, that is to rise.

    Returns:
      float32 [b, H, W, 3], within the radius; values outside 0..255 are left to the caller.
    """
    start = radius * jax.vmap(
        lambda i: jax.random.uniform(
            jax.random.fold_in(key, i), images.shape[1:], minval=-1.0, maxval=1.0
        )
    )(index)
    gradient = jax.grad(lambda change: loss_of(images + change))(start)
    return jnp.clip(start + _ATTACK_STEP * radius * jnp.sign(gradient), -radius, radius)


def _truth(batch: dict[str, Any], classes: int) -> jax.Array:
    """The target probabilities, float32 [b, classes]: blended as the images are."""
    truth = jax.nn.one_hot(batch["label"], classes)
    if "share" not in batch:
        return truth
    share = batch["share"][:, None]
    return share * truth + (1 - share) * jax.nn.one_hot(batch["other"], classes)


def _loss(logits, truth):
    return optax.softmax_cross_entropy(logits, truth).mean()
