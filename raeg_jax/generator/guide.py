"""Guides: the conditioners of gradient couplings, descents on the loss of classifiers.

`Guide` computes in floating point. `FixedGuide` is the same descent without views and smoothing in
integers, the same on every machine: classifiers compute in block floating point; logits, and with
them the loss and the weight of each classifier, are multiples of 1/64; images and steps are
multiples of 1/16 of a pixel value.
"""

import math

import flax.struct
import jax
import jax.numpy as jnp

from raeg_jax.adversarial.distortions import view
from raeg_jax.adversarial.features import likeness
from raeg_jax.adversarial.losses import LOSSES, class_permutation, ensemble_loss
from raeg_jax.adversarial.pgd import beside, descend
from raeg_jax.exact import integers
from raeg_jax.exact.block_float import PIXEL_PARTS, to_integers
from raeg_jax.exact.fixed_classifier import FixedClassifier
from raeg_jax.image.filters import gaussian_blur
from raeg_jax.networks.classifiers import LogitsFn

# Fractions of 1 in a logit, in the weight of a classifier, and in a root mean square.
_LOGIT_PARTS, _WEIGHT_PARTS = 64, 16
_RMS_PARTS = PIXEL_PARTS * integers.RMS_PARTS
_MOST_LOGIT = 2**24

# What a descent lowers: margins, or the likeness of features to those of the image itself.
GUIDE_LOSSES = (*LOSSES, "features")


@flax.struct.dataclass
class Guide:
    """The displacement of an image by projected gradient descent on the classifiers' loss.

    Attributes:
      classifiers: the ensemble, logits functions in evaluation mode; a pytree.
      reach: greatest distance of the descent from the image, a root mean square in pixel units.
      steps: of the descent.
      loss: of `GUIDE_LOSSES`. Recovery doesn't have the original, so 'features' leads away from
        those of the image that the guide is given.
      views: (name, strength) of distortions of the classifiers' input, in turn from step to step:
        a perturbation that survives them survives such defences.
      smoothing: standard deviation in pixels of the Gaussian that smooths each gradient.
      kappa: in logits, see `ensemble_loss`; 'features' have none.
    """

    classifiers: tuple[LogitsFn, ...]
    reach: jax.Array | float
    steps: int = flax.struct.field(pytree_node=False, default=6)
    loss: str = flax.struct.field(pytree_node=False, default="untargeted")
    views: tuple[tuple[str, float], ...] = flax.struct.field(
        pytree_node=False, default=(("identity", 0.0),)
    )
    smoothing: float = flax.struct.field(pytree_node=False, default=0.0)
    kappa: float = flax.struct.field(pytree_node=False, default=1.0)

    def __call__(self, images: jax.Array, labels: jax.Array) -> jax.Array:
        """The displacement, float32 [B, H, W, 3] in pixel units.

        Args:
          images: float32 [B, H, W, 3] in pixel units.
          labels: int32 [B], the true classes; 'features' need none.
        """

        def loss(x):
            return ensemble_loss(self.classifiers, x, labels, LOSSES[self.loss], self.kappa)

        radius = self.reach * math.sqrt(math.prod(images.shape[1:]))
        start = images
        if self.loss == "features":
            loss, start = likeness(self.classifiers, images), beside(images, radius)

        def gain(images, name, strength):
            # Each image's loss depends on that image only: the sum's gradient holds every image's.
            return -jnp.sum(loss(view(images, name, strength)))

        descents = [jax.grad(lambda x, v=v: gain(x, *v)) for v in self.views]

        def descent(x, step):
            direction = jax.lax.switch(step % len(self.views), descents, x)
            if self.smoothing:
                direction = gaussian_blur(direction, self.smoothing)
            return direction

        return descend(descent, images, radius, self.steps, start=start) - images


@flax.struct.dataclass
class FixedGuide:
    """As `Guide`, in exact arithmetic.

    Attributes:
      classifiers: the ensemble, a pytree.
      reach: as of `Guide`; at most 400.
      steps, loss, kappa: as of `Guide`.
    """

    classifiers: tuple[FixedClassifier, ...]
    reach: jax.Array | float
    steps: int = flax.struct.field(pytree_node=False, default=6)
    loss: str = flax.struct.field(pytree_node=False, default="untargeted")
    kappa: float = flax.struct.field(pytree_node=False, default=1.0)

    portable = True

    def __call__(self, images: jax.Array, labels: jax.Array) -> jax.Array:
        """The displacement, float32 [B, H, W, 3] in pixel units, multiples of 1/16.

        Args:
          images: integers as float32 [B, H, W, 3] within 0..255.
          labels: int32 [B], the true classes.
        """
        start = images.astype(jnp.int32) * PIXEL_PARTS
        most = 255 * PIXEL_PARTS
        radius = jnp.round(jnp.float32(self.reach) * _RMS_PARTS).astype(jnp.int32)
        length = integers.divide(5 * radius, 2 * self.steps)

        def step(_, displacement):
            direction = self._descent(start + displacement, labels)
            displacement = displacement + integers.to_rms(direction, length)
            displacement = jnp.clip(displacement, -most, most)
            inside = integers.to_rms(displacement, radius)
            is_outside = integers.rms(displacement) > radius
            displacement = jnp.where(is_outside, inside, displacement)
            return jnp.clip(start + displacement, 0, most) - start

        displacement = jax.lax.fori_loop(0, self.steps, step, jnp.zeros_like(start))
        return displacement.astype(jnp.float32) / PIXEL_PARTS

    def _descent(self, image, labels):
        """The direction in which the loss falls: int32 [B, H, W, 3], at most `integers.LIMIT`."""
        pixels = image.astype(jnp.float32) / PIXEL_PARTS
        logits, pulls = zip(*(jax.vjp(fixed, pixels) for fixed in self.classifiers), strict=True)
        losses, gradients = zip(*(self._loss(z, labels) for z in logits), strict=True)
        weights = _weights(jnp.stack(losses) + round(min(self.kappa, 1e4) * _LOGIT_PARTS))
        # Small integers: their products are exact.
        directions = [
            pull(-(weight[:, None] * gradient).astype(jnp.float32))[0]
            for pull, weight, gradient in zip(pulls, weights, gradients, strict=True)
        ]
        return _sum(directions)

    def _loss(self, logits, labels):
        """The loss, int32 [B], in 64ths, and its gradient, int32 [B, K]."""
        logits = jnp.round(logits * _LOGIT_PARTS)
        logits = jnp.clip(logits, -_MOST_LOGIT, _MOST_LOGIT).astype(jnp.int32)
        if self.loss == "targeted":
            goals = jnp.asarray(class_permutation(logits.shape[-1]))[labels]
            value, gradient = _margin(logits, goals)
            return -value, -gradient
        return _margin(logits, labels)


def _margin(logits, labels):
    """The lead of a class, int32 [B], and its gradient: 1 for it, -1 for the best other class."""
    true = jax.nn.one_hot(labels, logits.shape[-1], dtype=jnp.int32)
    others = jnp.where(true > 0, -2 * _MOST_LOGIT, logits)
    best = jax.nn.one_hot(jnp.argmax(others, axis=-1), logits.shape[-1], dtype=jnp.int32)
    gradient = true - best
    return jnp.sum(logits * gradient, axis=-1), gradient


def _weights(losses):
    """The weight of each classifier, int32 [n, B] in sixteenths: 1/16 to 1.

    Half where the loss is 0 and a quarter more or less for each logit: the logistic function of
    `ensemble_loss` in three straight pieces.
    """
    losses = losses - jnp.minimum(jnp.max(losses, axis=0), 0)
    slope = 4 * _LOGIT_PARTS // _WEIGHT_PARTS
    return jnp.clip(_WEIGHT_PARTS // 2 + integers.divide(losses, slope), 1, _WEIGHT_PARTS)


def _sum(arrays):
    """Adds directions, scaled to integers as large as `integers.LIMIT` allows their sum to be."""
    bits = ((integers.LIMIT + 1) // len(arrays)).bit_length() - 1
    numbers, _ = to_integers(jnp.stack(arrays, axis=1), bits)
    return jnp.sum(numbers.astype(jnp.int32), axis=1)
