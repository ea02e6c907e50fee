"""One step of training learned patterns together with surrogates, written for one device.

    minimise over p and networks f:  cross-entropy of f(augment(defend(Q(x + s p[class, variant]))))

Error-minimising noise (Huang et al. 2021, "Unlearnable Examples", arXiv 2101.04898), one for each
class, with the defences of pirates in the loop. s gives the change the distance of the target PSNR.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from raeg_jax.adversarial.attack_layer import attack_layer
from raeg_jax.generator.shortcut import draw_waves
from raeg_jax.image.metrics import mse, mse_of_psnr
from raeg_jax.image.quantise import quantise
from raeg_jax.image.resize import crop_resize
from raeg_jax.training.augment import augment
from raeg_jax.training.parallel import StepFn
from raeg_jax.training.surrogates import Surrogates
from raeg_jax.workdir.processes import AXIS

# Least and most cycles in a photograph of the waves that patterns start from: of a grey one, and of
# one in a colour. JPEG keeps little of shorter ones in colour; pictures hide longer grey ones.
_GREY_CYCLES, _COLOUR_CYCLES = (6, 13), (1, 3)
# Share of the energy that the grey wave has.
_GREY_SHARE = 0.6


def first_patterns(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Where the training starts: a short grey wave and a long one in a colour.

    From waves, patterns become such that surrogates learn them sooner than from smooth random
    fields, and outlive more (docs/poison.md).

    Args:
      shape: (classes, variants, side, side, 3).
      seed: of the choice of waves.

    Returns:
      float32 of that shape, each pattern with a root mean square of 1.
    """
    classes, variants, grid, _, _ = shape
    grey = _waves(grid, _GREY_CYCLES, ("grey",), seed)
    colour = _waves(grid, _COLOUR_CYCLES, ("red_green", "blue_yellow"), seed)
    number = np.arange(classes * variants)
    # No pair comes twice before all have come.
    second = (number + number // math.lcm(len(grey), len(colour))) % len(colour)
    grey, colour = grey[number % len(grey)], colour[second]
    fields = math.sqrt(_GREY_SHARE) * grey + math.sqrt(1 - _GREY_SHARE) * colour
    return np.asarray(normalise(fields), np.float32).reshape(shape)


def _waves(grid: int, cycles: tuple[int, int], colours: tuple[str, ...], seed: int) -> np.ndarray:
    """Waves of so many cycles, as far as cells allow: float64 [n, grid, grid, 3], of rms 1."""
    least, most = (min(count, grid // 2) for count in cycles)
    waves, order = draw_waves(grid, (least, most), colours, 1, seed)
    return normalise(waves[order[:, 0]].astype(np.float64))


def normalise(patterns: Any) -> Any:
    """Scales each pattern [..., side, side, 3] to a root mean square of 1."""
    return patterns / ((patterns**2).mean(axis=(-3, -2, -1), keepdims=True) + 1e-12) ** 0.5


def to_int8(patterns: np.ndarray) -> np.ndarray:
    """Rounds patterns [..., side, side, 3] to int8, the largest magnitude of each to 127."""
    largest = np.abs(patterns).max(axis=(-3, -2, -1), keepdims=True)
    return np.rint(patterns / largest * 127).astype(np.int8)


def add_patterns(
    patterns: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    variants: jax.Array,
    psnr: float,
) -> jax.Array:
    """Adds to each image a pattern of its class, as a shortcut stage comes near to.

    Args:
      patterns: float32 [K, V, G, G, 3]; classes beyond K share them with the first ones.
      images: float32 [b, H, W, 3], in pixel units.
      labels: int32 [b].
      variants: int32 [b], which of the V patterns.
      psnr: of the result, in decibels, before values are clipped.

    Returns:
      Whole numbers within 0..255, float32 [b, H, W, 3]; gradients pass straight through.
    """
    grid, (height, width) = patterns.shape[2], images.shape[1:3]
    chosen = patterns[labels % len(patterns), variants]
    change = crop_resize(chosen, 0, 0, grid, grid, (height, width))
    return quantise(images + math.sqrt(mse_of_psnr(psnr)) * normalise(change))


def create_state(
    patterns: np.ndarray, optimizer: optax.GradientTransformation, surrogates: Surrogates
) -> dict[str, Any]:
    """The state before the first step, from float32 patterns [K, V, G, G, 3]."""
    first = jnp.asarray(patterns)
    return {
        "step": jnp.zeros((), jnp.int32),
        "patterns": first,
        "opt_state": optimizer.init(first),
        "surrogates": surrogates.create(),
    }


def make_pattern_step(
    config: ConfigDict, surrogates: Surrogates, optimizer: optax.GradientTransformation
) -> StepFn:
    """Builds the step of learned patterns.

    Args:
      config: the whole configuration.
      surrogates: that learn with them.
      optimizer: of the patterns.

    Returns:
      (state, frozen, batch) -> (state, metrics) for `parallel.ParallelStep`. `frozen` has the
      `seed` of all draws; `batch` is this device's {'image': uint8 [b, S, S, 3], 'label'}.
      Metrics: 'loss' and 'accuracy' of the surrogates, means over them, and 'rms', the root mean
      square of what changes the images, in pixel units.
    """
    psnr, radius = config.generator.shortcut.target_psnr, config.patterns.adversarial

    def objective(patterns, params, states, x, labels, key, index):
        draws, attack_key, augment_key, start_key = jax.random.split(key, 4)
        variants = jax.vmap(
            lambda i: jax.random.randint(jax.random.fold_in(draws, i), (), 0, patterns.shape[1])
        )(index)
        poisoned = add_patterns(patterns, x, labels, variants, psnr)
        seen = attack_layer(attack_key, poisoned, config.attack_layer, index)
        seen = augment(augment_key, seen, config.augment, index)
        loss, accuracy, statistics = surrogates.read(
            params, states, seen, labels, start_key, index, radius
        )
        rms = jnp.sqrt(mse(poisoned, x)).mean()
        return loss, ({"loss": loss, "accuracy": accuracy, "rms": rms}, statistics)

    def step(state, frozen, batch):
        x = batch["image"].astype(jnp.float32)
        index = jax.lax.axis_index(AXIS) * len(x) + jnp.arange(len(x))
        key = jax.random.fold_in(jax.random.key(frozen["seed"]), state["step"])
        states = state["surrogates"]
        (_, (metrics, statistics)), (gradient, gradients) = jax.value_and_grad(
            objective, argnums=(0, 1), has_aux=True
        )(
            state["patterns"], tuple(each["params"] for each in states), states, x,
            batch["label"], key, index,
        )  # fmt: skip
        gradient, metrics = jax.lax.pmean((gradient, metrics), AXIS)
        changes, opt_state = optimizer.update(gradient, state["opt_state"])
        # The objective doesn't depend on their scale: at one scale the step's length means the
        # same for the whole training.
        patterns = normalise(optax.apply_updates(state["patterns"], changes))
        return {
            "step": state["step"] + 1,
            "patterns": patterns,
            "opt_state": opt_state,
            "surrogates": surrogates.update(states, gradients, statistics),
        }, metrics

    return step
