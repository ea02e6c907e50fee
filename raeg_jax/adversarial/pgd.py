"""Projected gradient descent, I-FGSM, and Gaussian noise of a given norm.

They show the effect of an irreversible attack at the same distance from the original. Distances are
L2 norms over one image, in pixel units; I-FGSM bounds the change of each value instead.

Images may have any real type, and labels may be a list; `image.inputs` checks both.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from raeg_jax.adversarial.crops import random_crops
from raeg_jax.adversarial.features import likeness
from raeg_jax.adversarial.losses import ensemble_loss, margin
from raeg_jax.image.inputs import as_images, as_labels
from raeg_jax.networks.classifiers import LogitsFn

# Projections aim this much inside the ball, so that rounding errors never leave it.
_INSIDE = 1 - 1e-5


def pgd_l2(
    logits_fns: Sequence[LogitsFn],
    images: jax.Array,
    labels: jax.Array,
    radius: jax.Array | float,
    steps: int,
    *,
    targeted: bool = False,
    momentum: float = 0.0,
    crop_share: float = 1.0,
) -> jax.Array:
    """Projected gradient descent on the margins of several classifiers, see `ensemble_loss`.

    Madry et al. (2017, arXiv 1706.06083), L2 form, from the original: each step goes
    2.5 radius / steps along the normalised gradient, then back into the ball of the radius around
    the original and into 0..255. Momentum (Dong et al. 2017, arXiv 1710.06081) and random crops
    (as the input diversity of Xie et al. 2018, arXiv 1803.06978) help it to mislead other
    classifiers, too.

    Args:
      logits_fns: the classifiers attacked together, in evaluation mode.
      images: float32 `[B, H, W, 3]` in pixel units, within 0..255.
      labels: int `[B]`, the true classes, or with `targeted` the classes to predict instead.
      radius: greatest L2 distance of each image, in pixel units; `[B]` or a scalar.
      steps: number of steps, at least 1.
      targeted: raise the margin of `labels` rather than lower it.
      momentum: see `descend`.
      crop_share: least share of each side in the part that the classifiers see, see
        `random_crops`.

    Returns:
      float32 `[B, H, W, 3]` within 0..255, at most `radius` away; not rounded.

    Raises:
      ValueError: fewer than one step, or no classifier.
    """
    images, loss = _prepare("PGD", logits_fns, images, labels, steps, targeted)
    return descend(_descent(loss, logits_fns, crop_share), images, radius, steps, momentum)


def pgd_on_features(
    networks: Sequence[LogitsFn],
    images: jax.Array,
    radius: jax.Array | float,
    steps: int,
    *,
    momentum: float = 0.0,
    crop_share: float = 1.0,
) -> jax.Array:
    """As `pgd_l2`, on the cosines between the features of images and originals, see `likeness`.

    Args:
      networks: the feature extractors attacked together, see `features`.
      images: as of `pgd_l2`.
      radius: as of `pgd_l2`.
      steps: as of `pgd_l2`.
      momentum: as of `pgd_l2`.
      crop_share: as of `pgd_l2`.

    Returns:
      As `pgd_l2`.

    Raises:
      ValueError: fewer than one step, or no network.
    """
    _check_steps("PGD", steps)
    (images,) = as_images(images)
    start = beside(images, radius)

    def loss(networks, x):
        return likeness(networks, images)(x)

    return descend(_descent(loss, networks, crop_share), images, radius, steps, momentum, start)


def beside(images: jax.Array, radius: jax.Array | float) -> jax.Array:
    """Where descents begin that can't at the images, as the gradient is 0 there.

    Args:
      images: float32 `[B, H, W, 3]` in pixel units, within 0..255.
      radius: of the descent, `[B]` or a scalar.

    Returns:
      The images and a fixed noise of a tenth of the radius, within 0..255.
    """
    noise = jax.random.normal(jax.random.key(0), images.shape[1:])
    return _move(images, images, jnp.broadcast_to(noise, images.shape), 0.1 * radius, radius)


def descend(
    descent: Callable[[jax.Array, jax.Array], jax.Array],
    images: jax.Array,
    radius: jax.Array | float,
    steps: int,
    momentum: float = 0.0,
    start: jax.Array | None = None,
) -> jax.Array:
    """The loop of projected gradient descent in the L2 norm, for any direction of descent.

    Args:
      descent: from images and the number of the step to a direction of any length, float32
        `[B, H, W, 3]`.
      images: float32 `[B, H, W, 3]` in pixel units, within 0..255.
      radius: greatest L2 distance of each image, in pixel units; `[B]` or a scalar.
      steps: number of steps, of 2.5 radius / steps each.
      momentum: share of the direction so far that is added to the next, which has length 1; 0 to
        go along each alone.
      start: of the descent, within the radius; default the images.

    Returns:
      float32 `[B, H, W, 3]` within 0..255, at most `radius` away; not rounded.
    """
    radius = jnp.asarray(radius, jnp.float32)
    length = 2.5 * radius / steps
    start = images if start is None else start

    def step(index, state):
        adversarial, direction = state
        slope = descent(adversarial, index)
        direction = momentum * direction + _normalise(slope) if momentum else slope
        return _move(images, adversarial, direction, length, radius), direction

    return jax.lax.fori_loop(0, steps, step, (start, jnp.zeros_like(images)))[0]


def ifgsm(
    logits_fns: Sequence[LogitsFn],
    images: jax.Array,
    labels: jax.Array,
    epsilon: jax.Array | float,
    steps: int,
) -> jax.Array:
    """The iterated fast gradient sign method on the margins of several classifiers.

    Kurakin et al. (2016, arXiv 1607.02533), there with cross-entropy: each step moves every value
    by 2.5 epsilon / steps against the sign of the gradient, then back to at most `epsilon` from
    the original (L-infinity ball) and into 0..255.

    Args:
      logits_fns: the classifiers attacked together, in evaluation mode.
      images: float32 `[B, H, W, 3]` in pixel units, within 0..255.
      labels: int `[B]`, the true classes.
      epsilon: greatest change of a value, in pixel units; `[B]` or a scalar.
      steps: number of steps, at least 1.

    Returns:
      float32 `[B, H, W, 3]` within 0..255, each value at most `epsilon` away (up to float
      rounding); not rounded.

    Raises:
      ValueError: fewer than one step, or no classifier.
    """
    images, loss = _prepare("I-FGSM", logits_fns, images, labels, steps)
    descent = _descent(loss, logits_fns)
    bound = _per_image(epsilon)
    length = 2.5 * bound / steps
    low, high = jnp.maximum(images - bound, 0), jnp.minimum(images + bound, 255)

    def step(index, adversarial):
        return jnp.clip(adversarial + length * jnp.sign(descent(adversarial, index)), low, high)

    return jax.lax.fori_loop(0, steps, step, images)


def gaussian_noise(key: jax.Array, images: jax.Array, radius: jax.Array | float) -> jax.Array:
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


def _check_steps(name, steps):
    if steps < 1:
        raise ValueError(f"{name} needs at least one step, not {steps}")


def _prepare(name, logits_fns, images, labels, steps, targeted=False):
    """Checks arguments; returns float32 images, and what is lowered: (networks, images) -> [B]."""
    _check_steps(name, steps)
    (images,) = as_images(images)
    labels = as_labels(labels, images)

    def loss(logits, labels):
        return -margin(logits, labels) if targeted else margin(logits, labels)

    return images, lambda networks, x: ensemble_loss(networks, x, labels, loss)


def _descent(loss, networks, crop_share=1.0):
    """The direction in which a loss of networks falls, seen through a random crop of the step."""

    def gain(images, step):
        seen = random_crops(networks, images.shape, step, crop_share)
        # Each image's loss depends on that image only: the sum's gradient holds every image's.
        return -jnp.sum(loss(seen, images))

    return jax.grad(gain)


def _move(images, start, direction, length, radius):
    """Goes `length` from `start` along `direction`, then into the ball around `images` and 0..255.

    Clipping comes last: as the originals lie within 0..255, it brings no value further away.
    """
    moved = start - images + _per_image(length) * _normalise(direction)
    norm = jnp.sqrt(jnp.sum(moved**2, axis=(1, 2, 3), keepdims=True))
    shrink = _INSIDE * _per_image(radius) / jnp.where(norm > 0, norm, 1)
    return jnp.clip(images + moved * jnp.minimum(shrink, 1), 0, 255)


def _normalise(x):
    """Scales each image to L2 norm 1; zeros stay zeros, tiny values do not underflow."""
    peak = jnp.max(jnp.abs(x), axis=(1, 2, 3), keepdims=True)
    x = x / jnp.where(peak > 0, peak, 1)
    norm = jnp.sqrt(jnp.sum(x**2, axis=(1, 2, 3), keepdims=True))
    return x / jnp.where(norm > 0, norm, 1)


def _per_image(values):
    """Shapes `[B]` or a scalar to broadcast over images."""
    return jnp.reshape(jnp.asarray(values, jnp.float32), (-1, 1, 1, 1))
