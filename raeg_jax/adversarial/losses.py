"""Losses that attacks lower: margins of the true or of another class, and of an ensemble."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.networks.classifiers import LogitsFn

# (logits [B, K], labels int [B], others=1) -> [B]: with one other class, see `margin`, it is
# negative where the attack succeeds.
Loss = Callable[..., jax.Array]


def margin(logits: jax.Array, labels: jax.Array, others: int = 1) -> jax.Array:
    """The lead of the true class over the mean of the best others, in logits.

    With one other it is z_true - max z_other, negative where misclassified: the loss f6 of Carlini
    and Wagner (2016, arXiv 1608.04644), without its bound. An attack on it stops pushing where the
    reading flips; one on the margin to many classes goes on, down the list of readings.

    Args:
      logits: `[B, K]`, K at least 2.
      labels: int `[B]`.
      others: how many other classes; K - 1 where there are fewer.

    Returns:
      `[B]`, in logits.
    """
    true = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    z_true = jnp.sum(jnp.where(true, logits, 0), axis=-1)
    rest = jnp.where(true, -jnp.inf, logits)
    if others == 1:
        return z_true - jnp.max(rest, axis=-1)
    best, _ = jax.lax.top_k(rest, min(others, logits.shape[-1] - 1))
    return z_true - jnp.mean(best, axis=-1)


def class_permutation(num_classes: int) -> np.ndarray:
    """The permutation pi from true classes to the goals of targeted attacks: one cycle.

    Returns:
      int32 [num_classes] without fixed points (for two or more classes), the same in every run.
    """
    order = np.random.RandomState(0).permutation(num_classes)
    permutation = np.empty(num_classes, np.int32)
    permutation[order] = np.roll(order, -1)
    return permutation


def targeted_margin(logits: jax.Array, labels: jax.Array, others: int = 1) -> jax.Array:
    """Minus the margin of the class pi(true), [B]: falls until that class leads."""
    return -margin(logits, jnp.asarray(class_permutation(logits.shape[-1]))[labels], others)


LOSSES: dict[str, Loss] = {"untargeted": margin, "targeted": targeted_margin}


def ensemble_loss(
    logits_fns: Sequence[LogitsFn],
    images: jax.Array,
    labels: jax.Array,
    loss: Loss = margin,
    kappa: float = 1.0,
) -> jax.Array:
    """The loss of an ensemble: sum over classifiers of softplus(loss + kappa).

    A classifier that is already misled hardly counts, so the attack turns to the others; in a plain
    mean, the classifier that is easiest to mislead would dominate. Where all are misled by far, the
    least misled one counts in full.

    Args:
      logits_fns: at least one classifier in evaluation mode.
      images: float32 `[B, H, W, 3]` in pixel units.
      labels: int `[B]`.
      loss: of one classifier.
      kappa: in logits; a classifier whose loss is below minus kappa counts less than the others.
        With a large kappa all count the same.

    Returns:
      float32 `[B]`; where all are misled by far, only its gradient is meaningful.

    Raises:
      ValueError: no classifier.
    """
    if not logits_fns:
        raise ValueError("an attack needs at least one classifier; logits_fns is empty")
    values = jnp.stack([loss(logits_fn(images), labels) for logits_fn in logits_fns]) + kappa
    far = jax.lax.stop_gradient(jnp.minimum(jnp.max(values, axis=0), 0))
    return jnp.sum(jax.nn.softplus(values - far), axis=0)
