"""The direction in which the loss of an ensemble falls, in fixed point, for guides.

Logits, and with them the loss and the weight of each classifier, are multiples of 1/64; all that
follows from them is integers.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from raeg_jax.adversarial.losses import class_permutation
from raeg_jax.exact import integers
from raeg_jax.exact.block_float import to_integers

# Fractions of 1 in a logit and in the weight of a classifier.
_LOGIT_PARTS, _WEIGHT_PARTS = 64, 16
_MOST_LOGIT = 2**24
# `integers.divide` takes sums of logits below it.
_MOST_SUM = 2**29


def fixed_descent(
    classifiers: Sequence[Callable[[jax.Array], jax.Array]],
    images: jax.Array,
    labels: jax.Array,
    *,
    loss: str = "untargeted",
    kappa: float = 1.0,
    others: int = 1,
) -> jax.Array:
    """The direction in which `ensemble_loss` falls, for classifiers in fixed point.

    Args:
      classifiers: functions from images to logits float32 [B, K], each exact, and its gradient too:
        a `FixedClassifier`, or one that sees a view of the images.
      images: float32 [B, H, W, 3], multiples of 1/16 within 0..255.
      labels: int32 [B], the true classes.
      loss: of `adversarial.losses.LOSSES`.
      kappa: in logits, see `ensemble_loss`.
      others: see `margin`.

    Returns:
      int32 [B, H, W, 3], at most `integers.LIMIT` in magnitude.
    """
    logits, pulls = zip(*(jax.vjp(classifier, images) for classifier in classifiers), strict=True)
    losses, gradients = zip(*(_loss(z, labels, loss, others) for z in logits), strict=True)
    weights = classifier_weights(jnp.stack(losses) + round(min(kappa, 1e4) * _LOGIT_PARTS))
    # Small integers: their products are exact.
    directions = [
        pull(-(weight[:, None] * gradient).astype(jnp.float32))[0]
        for pull, weight, gradient in zip(pulls, weights, gradients, strict=True)
    ]
    return add_directions(directions)


def _loss(logits, labels, loss, others):
    """The loss, int32 [B], in 64ths, and a multiple of its gradient, int32 [B, K]."""
    logits = jnp.round(logits * _LOGIT_PARTS)
    logits = jnp.clip(logits, -_MOST_LOGIT, _MOST_LOGIT).astype(jnp.int32)
    if loss == "targeted":
        goals = jnp.asarray(class_permutation(logits.shape[-1]))[labels]
        value, gradient = fixed_margin(logits, goals, others)
        return -value, -gradient
    return fixed_margin(logits, labels, others)


def fixed_margin(
    logits: jax.Array, labels: jax.Array, others: int = 1
) -> tuple[jax.Array, jax.Array]:
    """The lead of a class over the mean of the best other ones, see `adversarial.losses.margin`.

    Of equal logits the first ones count.

    Args:
      logits: int32 [B, K] in 64ths.
      labels: int32 [B].
      others: how many; K - 1 where there are fewer.

    Returns:
      The lead, int32 [B] in 64ths, rounded; and its gradient times the number n of others, int32
      [B, K]: n for the class, -1 for each other one.
    """
    count = min(others, logits.shape[-1] - 1)
    true = jax.nn.one_hot(labels, logits.shape[-1], dtype=jnp.int32)
    limit = min(_MOST_LOGIT, _MOST_SUM // count)
    logits = jnp.clip(logits, -limit, limit)
    best, classes = jax.lax.top_k(jnp.where(true > 0, -2 * _MOST_LOGIT, logits), count)
    lead = jnp.sum(logits * true, axis=-1) - integers.divide(jnp.sum(best, axis=-1), count)
    rows = jnp.arange(len(logits))[:, None]
    return lead, (count * true).at[rows, classes].add(-1)


def classifier_weights(losses: jax.Array) -> jax.Array:
    """The weight of each classifier, int32 [n, B] in sixteenths: 1/16 to 1.

    Half where the loss is 0 and a quarter more or less for each logit: the logistic function of
    `ensemble_loss` in three straight pieces.

    Args:
      losses: int32 [n, B] in 64ths, kappa included.
    """
    losses = losses - jnp.minimum(jnp.max(losses, axis=0), 0)
    slope = 4 * _LOGIT_PARTS // _WEIGHT_PARTS
    return jnp.clip(_WEIGHT_PARTS // 2 + integers.divide(losses, slope), 1, _WEIGHT_PARTS)


def add_directions(arrays: Sequence[jax.Array]) -> jax.Array:
    """Adds directions, scaled to integers as large as `integers.LIMIT` allows their sum to be.

    Args:
      arrays: float32 [B, H, W, 3] each.

    Returns:
      int32 [B, H, W, 3].
    """
    bits = ((integers.LIMIT + 1) // len(arrays)).bit_length() - 1
    numbers, _ = to_integers(jnp.stack(arrays, axis=1), bits)
    return jnp.sum(numbers.astype(jnp.int32), axis=1)
