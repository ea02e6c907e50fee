"""The attack of Carlini and Wagner: the smallest perturbation that misleads, found with Adam."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from raeg_jax.adversarial.losses import margin
from raeg_jax.image.inputs import as_images, as_labels
from raeg_jax.networks.classifiers import LogitsFn

# Share of the range that arctanh maps: it is infinite at 0 and 255 themselves.
_INSIDE = 0.999999
_HALF = 127.5
# In squared pixel units a logit; the paper's 1e-3, of images within 0..1.
_FIRST_CONSTANT = 1e-3 * 255**2
# Of Adam; 1 would be about half of the range, near its middle.
_STEP_SIZE = 0.01


def carlini_wagner(
    logits_fns: Sequence[LogitsFn],
    images: jax.Array,
    labels: jax.Array,
    steps: int,
    *,
    kappa: jax.Array | float = 0.0,
    searches: int = 9,
) -> jax.Array:
    """Minimises |y - x|^2 + c * sum over classifiers of max(margin + kappa, 0).

    Carlini and Wagner (2016, arXiv 1608.04644), L2 form with their loss f6: y is the tanh of the
    variable that Adam optimises, so it never leaves 0..255. c, one for each image, starts at
    `_FIRST_CONSTANT`, grows tenfold until y misleads, and is then bisected. All of several
    classifiers must be misled; the paper has one.

    Args:
      logits_fns: the classifiers attacked together, in evaluation mode.
      images: float32 `[B, H, W, 3]` in pixel units, within 0..255.
      labels: int `[B]`, the true classes.
      steps: of Adam, for each c; at least 1.
      kappa: by how many logits each classifier must be misled; `[B]` or a scalar, not negative.
        With 0 rounding to 8 bits undoes some attacks (6 of 32 measured; with 1 none).
      searches: number of values of c.

    Returns:
      float32 `[B, H, W, 3]` within 0..255, not rounded: the iterate closest to the original that
      misleads; where none does, the last one.

    Raises:
      ValueError: fewer than one step or search, no classifier, or see `as_images`, `as_labels`.
    """
    if min(steps, searches) < 1:
        raise ValueError(f"needs at least one step and search, not {steps} and {searches}")
    if not logits_fns:
        raise ValueError("an attack needs at least one classifier; logits_fns is empty")
    (images,) = as_images(images)
    labels = as_labels(labels, images)
    start = jnp.arctanh((images / _HALF - 1) * _INSIDE)
    reachable = _to_pixels(start)
    lead = jnp.broadcast_to(jnp.asarray(kappa, jnp.float32), labels.shape)
    adam = optax.adam(_STEP_SIZE)

    def loss(change, constant):
        candidate = _to_pixels(start + change)
        margins = jnp.stack([margin(fn(candidate), labels) for fn in logits_fns])
        excess = jnp.sum(jnp.maximum(margins + lead, 0), axis=0)
        total = jnp.sum((candidate - reachable) ** 2) + jnp.sum(constant * excess)
        return total, (candidate, jnp.all(margins + lead < 0, axis=0))

    gradient = jax.grad(loss, has_aux=True)

    def descend(_, state):
        change, moments, constant, ever_misled, best, least, _ = state
        slope, (candidate, misled) = gradient(change, constant)
        update, moments = adam.update(slope, moments)
        distance = jnp.sum((candidate - images) ** 2, axis=(1, 2, 3))
        better = misled & (distance < least)
        best = jnp.where(better[:, None, None, None], candidate, best)
        least = jnp.where(better, distance, least)
        return change + update, moments, constant, ever_misled | misled, best, least, candidate

    def search(_, state):
        constant, low, high, best, least, _ = state
        none = jnp.zeros(labels.shape, bool)
        begin = jnp.zeros_like(start), adam.init(start), constant, none, best, least, images
        *_, misled, best, least, last = jax.lax.fori_loop(0, steps, descend, begin)
        low, high = jnp.where(misled, low, constant), jnp.where(misled, constant, high)
        constant = jnp.where(jnp.isinf(high), 10 * constant, (low + high) / 2)
        return constant, low, high, best, least, last

    zeros = jnp.zeros(labels.shape, jnp.float32)
    unbounded = jnp.full_like(zeros, jnp.inf)
    state = zeros + _FIRST_CONSTANT, zeros, unbounded, images, unbounded, images
    *_, best, least, last = jax.lax.fori_loop(0, searches, search, state)
    return jnp.where(jnp.isinf(least)[:, None, None, None], last, best)


def _to_pixels(values):
    return _HALF * (jnp.tanh(values) + 1)
