"""The optimisers of the generator and its discriminator, and the state before the first step."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax.workdir.checkpoint import TrainState

# Initial weights come from a fold of the seed that no step number reaches.
_INIT_FOLD = 2**32 - 1


def _adam(schedule: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
    del weight_decay
    return optax.adam(schedule)


def _adamw(schedule: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
    def matrices(params):  # biases and normalisation scales are not decayed
        return jax.tree.map(lambda p: jnp.ndim(p) > 1, params)

    return optax.adamw(schedule, weight_decay=weight_decay, mask=matrices)


OPTIMIZERS = {"adam": _adam, "adamw": _adamw}


def learning_rate_schedule(learning_rate: float, steps: int, warmup_steps: int) -> optax.Schedule:
    """Linear warm-up to `learning_rate`, then a cosine to zero at step `steps`.

    The warm-up takes at most half of the steps, so that short runs reach the full rate too.
    """
    warmup = min(warmup_steps, steps // 2)
    return optax.warmup_cosine_decay_schedule(
        init_value=learning_rate / max(warmup, 1),
        peak_value=learning_rate,
        warmup_steps=warmup,
        decay_steps=max(steps, 1),
    )


def make_optimizer(
    settings: ConfigDict, steps: int, learning_rate: float
) -> optax.GradientTransformation:
    """Adam or AdamW behind global-norm clipping, on a warm-up and cosine schedule.

    Args:
      settings: `name` (a key of OPTIMIZERS), `warmup_steps`, `weight_decay` (AdamW only) and
        `clip_norm` (bound of the gradients' global L2 norm; 0 for none).
      steps: length of the schedule.
      learning_rate: its peak.
    """
    return _make(settings, learning_rate_schedule(learning_rate, steps, settings.warmup_steps))


def classifier_optimizer(
    settings: ConfigDict, steps: int, constant: bool = False
) -> optax.GradientTransformation:
    """AdamW as classifiers are trained with it.

    Args:
      settings: `config.classifiers`.
      steps: length of the schedule.
      constant: whether the learning rate stays what it is after the warm-up, as for networks that
        are replaced before they are finished.
    """
    recipe = ConfigDict({"name": "adamw", "clip_norm": 1.0, "weight_decay": settings.weight_decay})
    rate, warmup = settings.learning_rate, settings.warmup_steps
    if not constant:
        return _make(recipe, learning_rate_schedule(rate, steps, warmup))
    return _make(recipe, _constant_schedule(rate, steps, warmup))


def _constant_schedule(rate: float, steps: int, warmup_steps: int) -> optax.Schedule:
    warmup = max(min(warmup_steps, steps // 2), 1)
    return optax.linear_schedule(rate / warmup, rate, warmup)


def _make(settings: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    optimizer = OPTIMIZERS[settings.name](schedule, settings.weight_decay)
    if settings.clip_norm > 0:
        optimizer = optax.chain(optax.clip_by_global_norm(settings.clip_norm), optimizer)
    return optimizer


def make_optimizers(
    config: ConfigDict,
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """The optimisers of the generator and of the discriminator, as `config.optimizer` says."""
    settings, steps = config.optimizer, config.train.steps
    return (
        make_optimizer(settings, steps, settings.learning_rate),
        make_optimizer(settings, steps, settings.discriminator_learning_rate),
    )


def create_state(
    config: ConfigDict,
    generator: nn.Module,
    discriminator: nn.Module | None,
    key: jax.Array,
    images: np.ndarray | None = None,
    surrogates: tuple[Any, ...] = (),
) -> TrainState:
    """The state before the first step; the same for the same key and images.

    Args:
      config: the whole configuration.
      generator: its `init(key, images)` gives {'params': ...}.
      discriminator: its `init(key, images, train=False)` gives all its variables; not used where
        `config.loss.weight.gan` is 0.
      key: the run's key, `jax.random.key(config.seed)`.
      images: [B, H, W, 3] in pixel units, some that the generator is trained on, whose statistics
        mixing 'actnorm' starts from; by default it starts from the identity.
      surrogates: as `Surrogates.create` makes them; none without the poison term.
    """
    size = config.data.image_size
    blank = jnp.zeros((1, size, size, 3), jnp.float32)
    first = blank if images is None else jnp.asarray(images, jnp.float32)
    optimizer, disc_optimizer = make_optimizers(config)
    generator_key, disc_key = jax.random.split(jax.random.fold_in(key, _INIT_FOLD))
    params = jax.jit(generator.init)(generator_key, first)["params"]
    disc, disc_opt_state = {}, ()
    if discriminator is not None and config.loss.weight.gan:
        disc = jax.jit(functools.partial(discriminator.init, train=False))(disc_key, blank)
        disc_opt_state = disc_optimizer.init(disc["params"])
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        # A copy, not the same buffers: the state is donated to each step.
        ema=jax.tree.map(jnp.copy, params),
        opt_state=optimizer.init(params),
        disc=disc,
        disc_opt_state=disc_opt_state,
        surrogates=surrogates,
    )
