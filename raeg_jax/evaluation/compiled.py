"""The compiled functions of the evaluation: protect, recover, read, compare.

They are jitted once for the module, so that both splits and every evaluation inside the training
loop share one compilation. Generators and classifiers are pytrees: their weights are arguments
and not constants of the program, and their modules are compared by their fields.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from raeg_jax.generator.chain import Chain
from raeg_jax.image import metrics
from raeg_jax.image.quantise import to_uint8
from raeg_jax.networks.classifiers import LogitsFn


def on_one_device(tree: Any) -> Any:
    """Copies a pytree of arrays to this process's first device: evaluation uses one.

    Bound to the devices of training, or to any, they would have every function compiled anew.
    """

    def take(x):
        is_free = isinstance(x, jax.Array) and not x.committed
        return x if is_free else jax.device_put(jax.device_get(x))

    return jax.tree.map(take, tree)


@jax.jit
def protect(
    generator: Chain, images: jax.Array, labels: jax.Array, token: jax.Array | None = None
) -> tuple[jax.Array, jax.Array, tuple[Any, ...]]:
    """Runs the generator forward and makes the samples of a file.

    Args:
      generator: its stages.
      images: uint8 [B, H, W, 3].
      labels: int32 [B].
      token: as `tokens.draw` makes it for the generator.

    Returns:
      The protected images, uint8 [B, H, W, 3]; per image, float32 [B], the share of samples that
      rounding alone would leave outside 0..255: clipping changes them for good; and the code that
      `recover` needs.
    """
    y, code = generator.forward(images.astype(jnp.float32), labels, token)
    rounded = jnp.round(y)
    outside = (rounded < 0) | (rounded > 255)
    return to_uint8(y), jnp.mean(outside, axis=(1, 2, 3), dtype=jnp.float32), code


@jax.jit
def recover(
    generator: Chain, images: jax.Array, code: tuple[Any, ...], token: jax.Array | None = None
) -> jax.Array:
    """Runs the generator backward: protected to recovered images, uint8 [B, H, W, 3]."""
    return to_uint8(generator.inverse(images.astype(jnp.float32), code, token))


@jax.jit
def read(logits_fns: Mapping[str, LogitsFn], images: jax.Array) -> dict[str, jax.Array]:
    """Classifies images, uint8 [B, H, W, 3]: int32 [B] class numbers by classifier."""
    images = images.astype(jnp.float32)
    return {name: jnp.argmax(fn(images), axis=-1) for name, fn in logits_fns.items()}


@jax.jit
def compare(images: jax.Array, originals: jax.Array) -> dict[str, jax.Array]:
    """Measures images against their originals, both uint8 [B, H, W, 3].

    Returns:
      float32 [B] each: `psnr` in decibels (infinite for equal images), `ssim`, `equal` (share of
      pixels of which all three samples are equal) and `distance` (L2 norm of the difference, in
      pixel units); and bool [B]: `exact`, whether all pixels are equal.
    """
    difference = images.astype(jnp.float32) - originals.astype(jnp.float32)
    equal = jnp.all(difference == 0, axis=-1)
    return {
        "psnr": metrics.psnr(images, originals),
        "ssim": metrics.ssim(images, originals),
        "equal": jnp.mean(equal, axis=(1, 2), dtype=jnp.float32),
        "exact": jnp.all(equal, axis=(1, 2)),
        "distance": jnp.sqrt(jnp.sum(difference**2, axis=(1, 2, 3))),
    }
