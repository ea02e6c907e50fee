"""What may be done to a protected image before a classifier reads it, in the hope that this helps.

A defence maps files to files: uint8 [B, H, W, 3] to uint8 [B, H, W, 3], deterministic and without
a look at the original. A new one is a line of `DEFENCES`.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from raeg_jax.attacks.gradient import LogitsFn
from raeg_jax.evaluation import compiled
from raeg_jax.image.filters import blur_radius, gaussian_blur
from raeg_jax.image.jpeg import jpeg
from raeg_jax.image.quantise import to_uint8

Defence = Callable[[jax.Array], jax.Array]


def _on_files(distort: Callable[[jax.Array], jax.Array]) -> Defence:
    """A compiled defence from a distortion of float32 [B, H, W, 3] in pixel units."""
    return jax.jit(lambda images: to_uint8(distort(images.astype(jnp.float32))))


def _blur(sigma: float) -> Defence:
    """Gaussian blur; sigma in pixels."""
    return _on_files(lambda x: gaussian_blur(x, sigma, blur_radius(sigma)))


DEFENCES: dict[str, Defence] = {
    "none": _on_files(lambda x: x),
    "jpeg_50": _on_files(lambda x: jpeg(x, 50)),
    "blur_1": _blur(1.0),
}


def read_defended(
    logits_fns: Mapping[str, LogitsFn],
    images: jax.Array,
    defences: Mapping[str, Defence] = DEFENCES,
) -> dict[str, dict[str, jax.Array]]:
    """Classifies images after each defence.

    Args:
      logits_fns: pytrees (see `compiled.as_pytree`), classifiers in evaluation mode by name.
      images: uint8 [B, H, W, 3].
      defences: by name.

    Returns:
      Class numbers, int32 [B], by defence and then by classifier.
    """
    return {name: compiled.read(logits_fns, defend(images)) for name, defend in defences.items()}
