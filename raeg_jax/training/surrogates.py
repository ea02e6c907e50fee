"""Surrogates: the networks that patterns, or a generator that poisons, are trained together with.

They stand for the models of pirates: they learn from protected images while these change to make
that easy (error-minimising noise, Huang et al. 2021, arXiv 2101.04898). Each is replaced by a new
one from time to time, as a pirate's network starts from nothing.
"""

import functools
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax.image.quantise import clip_ste
from raeg_jax.networks.classifiers import build_classifier
from raeg_jax.training.classifier_step import find_attack
from raeg_jax.training.optimizers import classifier_optimizer
from raeg_jax.workdir.processes import AXIS, replicate

# Share of the steps in which images are attacked: with more, patterns lose their brightness, and
# pirates who turn images grey escape (docs/poison.md).
_ATTACKED = 0.25

# The variables of a surrogate and the state of its optimiser, `opt_state`.
State = dict[str, Any]


class Surrogates:
    """The surrogates of `config.patterns.surrogates`, several of which may have one architecture.

    They are trained as classifiers are, but for the learning rate, which stays constant after the
    warm-up. Batch statistics are per device, then averaged.
    """

    def __init__(self, config: ConfigDict, num_classes: int):
        """Builds the networks.

        Args:
          config: the whole configuration.
          num_classes: of the data set.
        """
        names, every = config.patterns.surrogates, config.patterns.renew_every
        self._modules = [build_classifier(name, num_classes) for name in names]
        self._seeds = [
            zlib.crc32(f"{config.seed} surrogate {number} {name}".encode())
            for number, name in enumerate(names)
        ]
        self._every = every
        self._size = config.data.image_size
        self._num_classes, self._smoothing = num_classes, config.classifiers.label_smoothing
        self._optimizer = classifier_optimizer(config.classifiers, every, constant=True)
        self._make = jax.jit(self._create, static_argnums=0)

    def create(self) -> tuple[State, ...]:
        """All surrogates as they are before the first step."""
        return tuple(
            self._make(module, jnp.uint32(seed), 0)
            for module, seed in zip(self._modules, self._seeds, strict=True)
        )

    def renew(self, states: tuple[State, ...], step: int) -> tuple[State, ...]:
        """Replaces those that have been trained for long enough.

        They take turns, so that of several there is always one that has learned for a while.

        Args:
          states: of all surrogates.
          step: that is taken next, counted from 1: new weights depend on it and on the seed alone.
        """
        renewed = list(states)
        for number, (module, seed) in enumerate(zip(self._modules, self._seeds, strict=True)):
            age = step - 1 + number * self._every // len(self._modules)
            if step > 1 and age % self._every == 0:
                renewed[number] = replicate(
                    self._make(module, jnp.uint32(seed), age // self._every)
                )
        return tuple(renewed)

    def _create(self, module: nn.Module, seed: jax.Array, generation: int | jax.Array) -> State:
        key = jax.random.fold_in(jax.random.key(seed), generation)
        images = jnp.zeros((1, self._size, self._size, 3), jnp.float32)
        variables = module.init(key, images, train=False)
        return {**variables, "opt_state": self._optimizer.init(variables["params"])}

    def read(
        self,
        params: Sequence[Any],
        states: Sequence[State],
        images: jax.Array,
        labels: jax.Array,
        key: jax.Array,
        index: jax.Array,
        radius: float = 0.0,
    ) -> tuple[jax.Array, jax.Array, tuple[Any, ...]]:
        """How well the surrogates read images, in training mode.

        Args:
          params: of each surrogate, to be differentiated by.
          states: of each; their `params` are not used.
          images: float32 [b, S, S, 3] in pixel units.
          labels: int32 [b].
          key: of the attack's random starts.
          index: int32 [b], each image's index in the global batch.
          radius: largest change of a value, in pixel units, by which each surrogate's images are
            attacked first in a quarter of the steps (after robust error-minimising noise, Fu et al.
            2022, arXiv 2203.14533); 0 for none.

        Returns:
          The mean over surrogates of the smoothed cross-entropy, and of the accuracy; the batch
          statistics of each, for `update`.
        """
        truth = jax.nn.one_hot(labels, self._num_classes)
        truth = optax.smooth_labels(truth, self._smoothing)
        losses, correct, statistics = [], [], []
        for number, (module, own, state) in enumerate(
            zip(self._modules, params, states, strict=True)
        ):
            seen = images
            if radius:
                start_key, coin_key = jax.random.split(jax.random.fold_in(key, number))
                arguments = module, own, state, images, truth, start_key, index, radius
                change = jax.lax.cond(
                    jax.random.bernoulli(coin_key, _ATTACKED),
                    functools.partial(_attack, *arguments),
                    lambda: jnp.zeros_like(images),
                )
                seen = clip_ste(images + change)
            loss, logits, changed = _loss(module, own, state, seen, truth)
            losses.append(loss)
            correct.append((logits.argmax(-1) == labels).mean())
            statistics.append(changed)
        return jnp.mean(jnp.stack(losses)), jnp.mean(jnp.stack(correct)), tuple(statistics)

    def update(
        self,
        states: Sequence[State],
        gradients: Sequence[Any],
        statistics: Sequence[Any],
        weight: float = 1.0,
    ) -> tuple[State, ...]:
        """The surrogates after a step of their optimisers.

        Args:
          states: before it.
          gradients: of this device's objective by the parameters of each.
          statistics: as `read` returned them.
          weight: of the loss that `read` returned in that objective.
        """
        gradients, statistics = jax.lax.pmean((tuple(gradients), tuple(statistics)), AXIS)
        # Of the loss of each alone, as the optimiser of a classifier sees it.
        scale, updated = len(states) / weight, []
        for state, gradient, changed in zip(states, gradients, statistics, strict=True):
            changes, opt_state = self._optimizer.update(
                jax.tree.map(lambda g: scale * g, gradient), state["opt_state"], state["params"]
            )
            params = optax.apply_updates(state["params"], changes)
            updated.append({**state, **changed, "params": params, "opt_state": opt_state})
        return tuple(updated)


def _loss(module, params, state, images, truth):
    """The loss of one surrogate, its logits and its batch statistics."""
    variables = {name: state[name] for name in state if name not in ("params", "opt_state")}
    logits, changed = module.apply(
        variables | {"params": params}, images, train=True, mutable=["batch_stats"]
    )
    return optax.softmax_cross_entropy(logits, truth).mean(), logits, changed


def _attack(module, params, state, images, truth, key, index, radius):
    """The change of images that raises the loss of one surrogate; a constant for gradients."""
    params, images = jax.lax.stop_gradient((params, images))
    return find_attack(
        key, images, index, radius, lambda x: _loss(module, params, state, x, truth)[0]
    )
