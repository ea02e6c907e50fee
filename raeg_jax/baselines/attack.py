"""The attacks that the compared methods may start from."""

import functools
from collections.abc import Sequence

import jax
import numpy as np

from raeg_jax.attacks.carlini_wagner import carlini_wagner
from raeg_jax.attacks.gradient import LogitsFn, ifgsm, pgd_l2
from raeg_jax.baselines.method import Method


def _pgd(logits_fns, images, labels, strength, steps):
    radius = strength * images[0].size ** 0.5
    return pgd_l2(logits_fns, images, labels, radius, steps)


def _ifgsm(logits_fns, images, labels, strength, steps):
    return ifgsm(logits_fns, images, labels, strength, steps)


def _carlini_wagner(logits_fns, images, labels, strength, steps):
    return carlini_wagner(logits_fns, images, labels, steps, kappa=strength)


# What a strength means: of `pgd` the root mean square of the change, of `ifgsm` the greatest
# change of a sample, both in pixel units; of `cw` the confidence kappa, in logits.
ATTACKS = {"pgd": _pgd, "ifgsm": _ifgsm, "cw": _carlini_wagner}
# Of `cw`. With less, rounding to 8 bits undoes some of the attacks.
CONFIDENCE = 1.0


def attack(
    logits_fns: Sequence[LogitsFn],
    images: np.ndarray,
    labels: np.ndarray,
    strength: np.ndarray,
    *,
    name: str,
    method: Method,
    side: int,
    steps: int,
) -> np.ndarray:
    """Attacks classifiers as a method lets the attack see them.

    Compiled once for each attack, number of steps and shape of images, and for each side that
    `method.seen_by` makes a difference of.

    Args:
      logits_fns: pytrees, attacked together.
      images: uint8 [B, H, W, 3].
      labels: int32 [B], the true classes.
      strength: float32 [B], see `ATTACKS`.
      name: of the attack.
      method: see `Method`.
      side: one of its sides.
      steps: of the attack.

    Returns:
      float32 [B, H, W, 3], in pixel units, within 0..255.
    """
    originals = images.astype(np.float32)
    seen = tuple(method.seen_by(logits_fn, originals, side) for logits_fn in logits_fns)
    return np.asarray(_run(seen, originals, labels, strength, name=name, steps=steps))


@functools.partial(jax.jit, static_argnames=("name", "steps"))
def _run(seen, originals, labels, strength, *, name, steps):
    return ATTACKS[name](seen, originals, labels, strength, steps)
