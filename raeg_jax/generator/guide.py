"""Guides: the conditioners of gradient couplings, descents on the loss of classifiers.

`Guide` computes in floating point. `FixedGuide` is the same descent in integers, the same on every
machine: classifiers compute in block floating point; images and steps are multiples of 1/16 of a
pixel value, and the loss is that of `fixed_descent`.
"""

import functools
import math

import flax.struct
import jax
import jax.numpy as jnp

from raeg_jax.adversarial.distortions import fixed_view, view
from raeg_jax.adversarial.features import likeness
from raeg_jax.adversarial.losses import LOSSES, ensemble_loss
from raeg_jax.adversarial.pgd import beside, descend
from raeg_jax.exact import integers
from raeg_jax.exact.block_float import PIXEL_PARTS, to_integers
from raeg_jax.exact.fixed_classifier import FixedClassifier
from raeg_jax.exact.views import gaussian_blur as fixed_blur
from raeg_jax.generator.fixed_descent import fixed_descent
from raeg_jax.image.filters import gaussian_blur
from raeg_jax.networks.classifiers import LogitsFn

# Fractions of 1 in a root mean square.
_RMS_PARTS = PIXEL_PARTS * integers.RMS_PARTS
# Of directions, which are integers.
_DIRECTION_BITS = integers.LIMIT.bit_length()

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
      others: how many other classes margins are to, see `adversarial.losses.margin`; 'features'
        have none.
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
    others: int = flax.struct.field(pytree_node=False, default=1)

    def __call__(self, images: jax.Array, labels: jax.Array) -> jax.Array:
        """The displacement, float32 [B, H, W, 3] in pixel units.

        Args:
          images: float32 [B, H, W, 3] in pixel units.
          labels: int32 [B], the true classes; 'features' need none.
        """

        def loss(x):
            one = functools.partial(LOSSES[self.loss], others=self.others)
            return ensemble_loss(self.classifiers, x, labels, one, self.kappa)

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
      steps, views, smoothing, kappa, others: as of `Guide`.
      loss: as of `Guide`, but not 'features'.
    """

    classifiers: tuple[FixedClassifier, ...]
    reach: jax.Array | float
    steps: int = flax.struct.field(pytree_node=False, default=6)
    loss: str = flax.struct.field(pytree_node=False, default="untargeted")
    views: tuple[tuple[str, float], ...] = flax.struct.field(
        pytree_node=False, default=(("identity", 0.0),)
    )
    smoothing: float = flax.struct.field(pytree_node=False, default=0.0)
    kappa: float = flax.struct.field(pytree_node=False, default=1.0)
    others: int = flax.struct.field(pytree_node=False, default=1)

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

        def step(index, displacement):
            direction = self._descent(start + displacement, labels, index)
            displacement = displacement + integers.to_rms(direction, length)
            displacement = jnp.clip(displacement, -most, most)
            inside = integers.to_rms(displacement, radius)
            is_outside = integers.rms(displacement) > radius
            displacement = jnp.where(is_outside, inside, displacement)
            return jnp.clip(start + displacement, 0, most) - start

        displacement = jax.lax.fori_loop(0, self.steps, step, jnp.zeros_like(start))
        return displacement.astype(jnp.float32) / PIXEL_PARTS

    def _descent(self, image, labels, step):
        """The direction in which the loss falls: int32 [B, H, W, 3], at most `integers.LIMIT`."""
        views = [functools.partial(fixed_view, name=n, strength=s) for n, s in self.views]
        pixels = image.astype(jnp.float32) / PIXEL_PARTS
        # The network is compiled once, however many views there are.
        seen, pull = jax.vjp(lambda x: jax.lax.switch(step % len(views), views, x), pixels)
        direction = fixed_descent(
            self.classifiers, seen, labels, loss=self.loss, kappa=self.kappa, others=self.others
        )
        (direction,) = pull(direction.astype(jnp.float32))
        # Integers that a view leaves as they are stay so.
        direction, _ = to_integers(direction, _DIRECTION_BITS, least=0)
        if self.smoothing:
            direction = fixed_blur(direction / PIXEL_PARTS, self.smoothing) * PIXEL_PARTS
        return direction.astype(jnp.int32)
