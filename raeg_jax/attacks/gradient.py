"""Gradient attacks in the L2 norm, and noise of the same norm: the controls of the evaluation.

They show what an irreversible attack reaches with the same distance from the original. All
distances are L2 norms over one image, in pixel units, but for I-FGSM, which bounds each value.

Images may have any real type, and labels may be a list; see `image.inputs` for what is refused.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from raeg_jax.image.inputs import as_images, as_labels
from raeg_jax.image.metrics import unit

# float32 images [B, H, W, 3] in pixel units -> logits [B, K], in evaluation mode.
LogitsFn = Callable[[jax.Array], jax.Array]
# The same images -> a direction for each, of the same shape.
Direction = Callable[[jax.Array], jax.Array]

# Projections aim this much inside the ball, so that rounding errors never leave it.
_INSIDE = 1 - 1e-5


def margin(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """How far the true class leads: z_true - max z_other, negative where misread.

    The loss f6 of Carlini and Wagner (2016, arXiv 1608.04644), without its bound.

    Args:
      logits: `[B, K]`, K at least 2.
      labels: int `[B]`.

    Returns:
      `[B]`, in logits.
    """
    true = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    z_true = jnp.sum(jnp.where(true, logits, 0), axis=-1)
    return z_true - jnp.max(jnp.where(true, -jnp.inf, logits), axis=-1)


def ensemble_loss(
    logits_fns: Sequence[LogitsFn],
    images: jax.Array,
    labels: jax.Array,
    loss: Callable[[jax.Array, jax.Array], jax.Array] = margin,
    kappa: float = 1.0,
) -> jax.Array:
    """What an attack lowers: sum over classifiers of softplus(loss + kappa).

    A classifier that is misled already hardly counts, so the attack turns to the others; of their
    plain mean the one that is easiest to mislead would take most. Where all are misled by far, the
    least misled counts in full.

    Args:
      logits_fns: at least one classifier in evaluation mode.
      images: float32 `[B, H, W, 3]` in pixel units.
      labels: int `[B]`.
      loss: from logits `[B, K]` and labels to `[B]`, negative where the attack has its way.
      kappa: in logits; a classifier whose loss is below minus kappa counts less than the others.
        With a large one all count the same.

    Returns:
      float32 `[B]`; its value is of no meaning where all are misled by far, its gradient is.

    Raises:
      ValueError: no classifier.
    """
    if not logits_fns:
        raise ValueError("an attack needs at least one classifier; logits_fns is empty")
    values = jnp.stack([loss(logits_fn(images), labels) for logits_fn in logits_fns]) + kappa
    far = jax.lax.stop_gradient(jnp.minimum(jnp.max(values, axis=0), 0))
    return jnp.sum(jax.nn.softplus(values - far), axis=0)


def fgsm(
    logits_fns: Sequence[LogitsFn],
    images: jax.Array,
    labels: jax.Array,
    radius: jax.Array,
    *,
    targeted: bool = False,
) -> jax.Array:
    """The fast gradient sign method: one step, of the same size for every value.

    Goodfellow et al. (2014, arXiv 1412.6572): y = clip(x + e sign(g)), with e such that the step
    has the L2 norm `radius`.

    Args:
      logits_fns: the classifiers attacked together, in evaluation mode.
      images: float32 `[B, H, W, 3]` in pixel units, within 0..255.
      labels: int `[B]`, the true classes, or with `targeted` the classes to be read instead.
      radius: L2 norm of each image's step, in pixel units; `[B]` or a scalar.
      targeted: raise the margin of `labels` rather than lower it.

    Returns:
      float32 `[B, H, W, 3]` within 0..255, at most `radius` away; not rounded.
    """
    (images,) = as_images(images)
    descent = _descent(logits_fns, as_labels(labels, images), targeted)
    return _move(images, images, jnp.sign(descent(images)), radius, radius)


def pgd_l2(
    logits_fns: Sequence[LogitsFn],
    images: jax.Array,
    labels: jax.Array,
    radius: jax.Array,
    steps: int,
    *,
    step_size: jax.Array | None = None,
    targeted: bool = False,
    key: jax.Array | None = None,
) -> jax.Array:
    """Projected gradient descent on the margins of several classifiers, see `ensemble_loss`.

    Madry et al. (2017, arXiv 1706.06083), L2 form: each step goes `step_size` along the normalised
    gradient, then back into the ball of the radius around the original and into 0..255.

    Args:
      logits_fns: the classifiers attacked together, in evaluation mode.
      images: float32 `[B, H, W, 3]` in pixel units, within 0..255.
      labels: int `[B]`, the true classes, or with `targeted` the classes to be read instead.
      radius: greatest L2 distance of each image, in pixel units; `[B]` or a scalar.
      steps: number of steps, at least 1.
      step_size: L2 norm of each step, as `radius`; by default 2.5 radius / steps.
      targeted: raise the margin of `labels` rather than lower it.
      key: starts from random noise inside the ball; by default from the original.

    Returns:
      float32 `[B, H, W, 3]` within 0..255, at most `radius` away; not rounded.

    Raises:
      ValueError: fewer than one step, or no classifier.
    """
    if steps < 1:
        raise ValueError(f"PGD needs at least one step, not {steps}")
    (images,) = as_images(images)
    descent = _descent(logits_fns, as_labels(labels, images), targeted)
    start = images
    if key is not None:
        noise_key, length_key = jax.random.split(key)
        share = jax.random.uniform(length_key, images.shape[:1])
        start = gaussian_noise(noise_key, images, share * jnp.asarray(radius, jnp.float32))
    return descend(lambda x, _: descent(x), images, radius, steps, step_size, start)


def descend(
    descent: Callable[[jax.Array, jax.Array], jax.Array],
    images: jax.Array,
    radius: jax.Array,
    steps: int,
    step_size: jax.Array | None = None,
    start: jax.Array | None = None,
) -> jax.Array:
    """The loop of projected gradient descent in the L2 norm, for any direction of descent.

    Args:
      descent: from images and the number of the step to a direction of any length, float32
        `[B, H, W, 3]`.
      images: float32 `[B, H, W, 3]` in pixel units, within 0..255.
      radius: greatest L2 distance of each image, in pixel units; `[B]` or a scalar.
      steps: number of steps.
      step_size: L2 norm of each step, as `radius`; by default 2.5 radius / steps.
      start: from where to go; by default from the original.

    Returns:
      float32 `[B, H, W, 3]` within 0..255, at most `radius` away; not rounded.
    """
    radius = jnp.asarray(radius, jnp.float32)
    step_size = 2.5 * radius / steps if step_size is None else step_size

    def step(index, adversarial):
        return _move(images, adversarial, descent(adversarial, index), step_size, radius)

    return jax.lax.fori_loop(0, steps, step, images if start is None else start)


def ifgsm(
    logits_fns: Sequence[LogitsFn],
    images: jax.Array,
    labels: jax.Array,
    epsilon: jax.Array,
    steps: int,
    *,
    step_size: jax.Array | None = None,
    targeted: bool = False,
) -> jax.Array:
    """The iterated fast gradient sign method on the margins of several classifiers.

    Kurakin et al. (2016, arXiv 1607.02533), there with cross-entropy: each step moves every value
    by `step_size` against the sign of the gradient, then back to at most `epsilon` from the
    original (L-infinity ball) and into 0..255.

    Args:
      logits_fns: the classifiers attacked together, in evaluation mode.
      images: float32 `[B, H, W, 3]` in pixel units, within 0..255.
      labels: int `[B]`, the true classes, or with `targeted` the classes to be read instead.
      epsilon: greatest change of a value, in pixel units; `[B]` or a scalar.
      steps: number of steps, at least 1.
      step_size: change of a value in one step, as `epsilon`; by default 2.5 epsilon / steps.
      targeted: raise the margin of `labels` rather than lower it.

    Returns:
      float32 `[B, H, W, 3]` within 0..255, each value at most `epsilon` away (up to float
      rounding); not rounded.

    Raises:
      ValueError: fewer than one step, or no classifier.
    """
    if steps < 1:
        raise ValueError(f"I-FGSM needs at least one step, not {steps}")
    epsilon = _per_image(epsilon)
    step_size = 2.5 * epsilon / steps if step_size is None else _per_image(step_size)
    (images,) = as_images(images)
    descent = _descent(logits_fns, as_labels(labels, images), targeted)
    low, high = jnp.maximum(images - epsilon, 0), jnp.minimum(images + epsilon, 255)

    def step(_, adversarial):
        return jnp.clip(adversarial + step_size * jnp.sign(descent(adversarial)), low, high)

    return jax.lax.fori_loop(0, steps, step, images)


def gaussian_noise(key: jax.Array, images: jax.Array, radius: jax.Array) -> jax.Array:
    """Adds white Gaussian noise scaled to a given norm, then clips to 0..255.

    Args:
      key: of the noise.
      images: float32 `[B, H, W, 3]` in pixel units, within 0..255.
      radius: L2 norm of each image's noise before clipping, in pixel units; `[B]` or a scalar.

    Returns:
      float32 `[B, H, W, 3]` within 0..255, at most `radius` away; not rounded.
    """
    (images,) = as_images(images)
    return _move(images, images, jax.random.normal(key, images.shape), radius, radius)


def _descent(logits_fns: Sequence[LogitsFn], labels: jax.Array, targeted: bool) -> Direction:
    """The direction, at each image, in which the attack's loss falls fastest."""

    def loss(logits, labels):
        return -margin(logits, labels) if targeted else margin(logits, labels)

    def gain(images):
        # Each image's loss depends on that image only: the sum's gradient is every image's own.
        return -jnp.sum(ensemble_loss(logits_fns, images, labels, loss))

    return jax.grad(gain)


def _move(images, start, direction, length, radius) -> jax.Array:
    """Goes `length` from `start` along `direction`, then into the ball around `images` and 0..255.

    Clipping comes last: as the originals lie within 0..255, it brings no value further away.
    """
    moved = start - images + _per_image(length) * unit(direction)
    norm = jnp.sqrt(jnp.sum(moved**2, axis=(1, 2, 3), keepdims=True))
    shrink = _INSIDE * _per_image(radius) / jnp.where(norm > 0, norm, 1)
    return jnp.clip(images + moved * jnp.minimum(shrink, 1), 0, 255)


def _per_image(values) -> jax.Array:
    """Shapes `[B]` or a scalar to broadcast over images."""
    return jnp.reshape(jnp.asarray(values, jnp.float32), (-1, 1, 1, 1))
