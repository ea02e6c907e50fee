"""The conditioner of gradient couplings: what would make classifiers misread an image."""

import math
from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp

from raeg_jax.attacks.gradient import LogitsFn, descend, ensemble_loss, margin
from raeg_jax.attacks.permutation import class_permutation
from raeg_jax.errors import UserError
from raeg_jax.image.filters import blur_radius, gaussian_blur
from raeg_jax.image.jpeg import jpeg
from raeg_jax.image.resize import rescale


def untargeted(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The margin of the true class, [B]: falls until any other class leads."""
    return margin(logits, labels)


def targeted(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Minus the margin of the class pi(true), [B]: falls until that class leads."""
    return -margin(logits, jnp.asarray(class_permutation(logits.shape[-1]))[labels])


LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "untargeted": untargeted,
    "targeted": targeted,
}

# Name of a view -> how it distorts images, given its number.
VIEWS: dict[str, Callable[[jax.Array, float], jax.Array]] = {
    "identity": lambda x, _: x,
    "gaussian_blur": lambda x, sigma: gaussian_blur(x, sigma, blur_radius(sigma)),
    "jpeg": lambda x, quality: jpeg(x, int(quality)),
    "rescale": rescale,
}


@flax.struct.dataclass
class Guide:
    """Where projected gradient descent on the classifiers' loss takes an image.

    Attributes:
      classifiers: the ensemble, logits functions in evaluation mode; a pytree.
      reach: how far the descent may go from the image, as a root mean square in pixel units.
      steps: of the descent.
      loss: key of `LOSSES`.
      views: (name, number) of distortions through which the classifiers look, in turn from step
        to step; what outlives them outlives such defences.
      smoothing: standard deviation in pixels of the Gaussian that smooths each gradient.
      kappa: in logits, see `ensemble_loss`.
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
        """The way there, float32 [B, H, W, 3] in pixel units.

        Args:
          images: float32 [B, H, W, 3] in pixel units.
          labels: int32 [B], the true classes.
        """
        descents = [jax.grad(lambda x, v=view: -self._total(x, labels, v)) for view in self.views]

        def descent(x, step):
            direction = jax.lax.switch(step % len(self.views), descents, x)
            if self.smoothing:
                radius = blur_radius(self.smoothing)
                direction = gaussian_blur(direction, self.smoothing, radius)
            return direction

        radius = self.reach * math.sqrt(math.prod(images.shape[1:]))
        return descend(descent, images, radius, self.steps) - images

    def _total(self, images, labels, view):
        """Each image's loss depends on that image only: the sum's gradient is every image's own."""
        name, number = view
        seen = VIEWS[name](images, number)
        loss = LOSSES[self.loss]
        return jnp.sum(ensemble_loss(self.classifiers, seen, labels, loss, self.kappa))


def parse_view(text: str) -> tuple[str, float]:
    """Reads 'identity', 'gaussian_blur:1.0' (sigma), 'jpeg:50' (quality) or 'rescale:0.5'.

    Raises:
      UserError: another name, or no such number.
    """
    name, _, number = str(text).partition(":")
    limits = {"gaussian_blur": (0.1, 100), "jpeg": (1, 100), "rescale": (0.01, 1)}
    if text == "identity":
        return name, 0.0
    try:
        low, high = limits[name]
        if low <= float(number) <= high and (name != "jpeg" or number.isdecimal()):
            return name, float(number)
    except (KeyError, ValueError):
        pass
    raise UserError(
        f"view {text!r} is unknown: write identity, or one of "
        + ", ".join(f"{name}:<{low} to {high}>" for name, (low, high) in limits.items())
    )
