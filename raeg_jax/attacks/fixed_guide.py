"""The conditioner of gradient couplings in arithmetic that is exact: the same on every machine.

The same descent as `guide.Guide` without views and smoothing, in whole numbers. Classifiers compute
in block floating point; logits, and with them the loss and the weight of each classifier, count in
64ths; images and steps in sixteenths of a pixel value.
"""

import flax.struct
import jax
import jax.numpy as jnp

from raeg_jax.attacks.guide import LOSSES
from raeg_jax.attacks.permutation import class_permutation
from raeg_jax.image import integers
from raeg_jax.invertible.block_float import PIXEL_PARTS, whole
from raeg_jax.networks.fixed import FixedClassifier

# Of a logit.
_LOGIT_PARTS = 64
_MOST_LOGIT = 2**24
# Of a classifier's weight.
_WEIGHT_PARTS = 16
_RMS_PARTS = PIXEL_PARTS * integers.RMS_PARTS


@flax.struct.dataclass
class FixedGuide:
    """Where projected gradient descent on the classifiers' loss takes an image.

    Attributes:
      classifiers: the ensemble, a pytree.
      reach: how far the descent may go from the image, as a root mean square in pixel units; at
        most 400.
      steps: of the descent.
      loss: 'untargeted' or 'targeted', see `guide.LOSSES`.
      kappa: in logits, see `gradient.ensemble_loss`.
    """

    classifiers: tuple[FixedClassifier, ...]
    reach: jax.Array | float
    steps: int = flax.struct.field(pytree_node=False, default=6)
    loss: str = flax.struct.field(pytree_node=False, default="untargeted")
    kappa: float = flax.struct.field(pytree_node=False, default=1.0)

    portable = True

    def __call__(self, images: jax.Array, labels: jax.Array) -> jax.Array:
        """The way there, float32 [B, H, W, 3] in pixel units, whole sixteenths.

        Args:
          images: integers as float32 [B, H, W, 3] within 0..255.
          labels: int32 [B], the true classes.
        """
        start = images.astype(jnp.int32) * PIXEL_PARTS
        most = 255 * PIXEL_PARTS
        radius = jnp.round(jnp.float32(self.reach) * _RMS_PARTS).astype(jnp.int32)
        length = integers.divide(5 * radius, 2 * self.steps)

        def step(_, way):
            way = way + integers.to_rms(self._descent(start + way, labels), length)
            way = jnp.clip(way, -most, most)
            inside = integers.to_rms(way, radius)
            way = jnp.where(integers.rms(way) > radius, inside, way)
            return jnp.clip(start + way, 0, most) - start

        way = jax.lax.fori_loop(0, self.steps, step, jnp.zeros_like(start))
        return way.astype(jnp.float32) / PIXEL_PARTS

    def _descent(self, image, labels):
        """The direction in which the loss falls: int32 [B, H, W, 3], at most `integers.LIMIT`."""
        seen = image.astype(jnp.float32) / PIXEL_PARTS
        logits, pulls = zip(*(jax.vjp(fixed, seen) for fixed in self.classifiers), strict=True)
        values, gradients = zip(*(self._loss(own, labels) for own in logits), strict=True)
        weights = _weights(jnp.stack(values) + round(min(self.kappa, 1e4) * _LOGIT_PARTS))
        # Small whole numbers: their products are exact.
        ways = [
            pull(-(weight[:, None] * gradient).astype(jnp.float32))[0]
            for pull, weight, gradient in zip(pulls, weights, gradients, strict=True)
        ]
        return _sum(ways)

    def _loss(self, logits, labels):
        """What is to fall, int32 [B], in 64ths, and its gradient, int32 [B, K]."""
        logits = jnp.round(logits * _LOGIT_PARTS)
        logits = jnp.clip(logits, -_MOST_LOGIT, _MOST_LOGIT).astype(jnp.int32)
        classes = logits.shape[-1]
        if self.loss not in LOSSES:
            raise ValueError(f"loss={self.loss!r} is none of {', '.join(LOSSES)}")
        if self.loss == "targeted":
            value, gradient = _margin(logits, jnp.asarray(class_permutation(classes))[labels])
            return -value, -gradient
        return _margin(logits, labels)


def _margin(logits, labels):
    """By how much a class leads, int32 [B], and the gradient: 1 for it, -1 for the next best."""
    own = jax.nn.one_hot(labels, logits.shape[-1], dtype=jnp.int32)
    others = jnp.where(own > 0, -2 * _MOST_LOGIT, logits)
    best = jax.nn.one_hot(jnp.argmax(others, axis=-1), logits.shape[-1], dtype=jnp.int32)
    gradient = own - best
    return jnp.sum(logits * gradient, axis=-1), gradient


def _weights(values):
    """How much each classifier counts, int32 [n, B] in sixteenths: 1/16 to 1.

    Half where the value is 0 and a quarter more or less for each logit: the logistic function of
    `gradient.ensemble_loss` in three straight pieces.
    """
    values = values - jnp.minimum(jnp.max(values, axis=0), 0)
    slope = 4 * _LOGIT_PARTS // _WEIGHT_PARTS
    return jnp.clip(_WEIGHT_PARTS // 2 + integers.divide(values, slope), 1, _WEIGHT_PARTS)


def _sum(arrays):
    """Adds directions, in whole numbers so large that the sum is just within `integers.LIMIT`."""
    bits = ((integers.LIMIT + 1) // len(arrays)).bit_length() - 1
    numbers, _ = whole(jnp.stack(arrays, axis=1), bits)
    return jnp.sum(numbers.astype(jnp.int32), axis=1)
