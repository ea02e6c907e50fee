"""What an irreversible change of the same size would do: Gaussian noise and PGD.

Both controls get, image by image, the L2 distance that the protected file has from its original.
The PSNR then is the same too, up to rounding; it is reported beside.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from raeg_jax.adversarial.pgd import gaussian_noise, pgd_l2
from raeg_jax.image.quantise import to_uint8
from raeg_jax.networks.classifiers import LogitsFn

# Corrections of the noise's length; each leaves a small part of the error before it.
_CORRECTIONS = 8


@jax.jit
def noise_control(
    seed: jax.Array, index: jax.Array, images: jax.Array, distance: jax.Array
) -> jax.Array:
    """Adds Gaussian noise of a given length, counted after rounding and clipping.

    Clipping takes a good part of the noise where an image is white or black. So the noise is made
    longer until the file is as far from its original as asked, or nearly: rounding to whole
    numbers and areas with little room set a limit.

    Args:
      seed: int scalar.
      index: int32 [B], each image's number: its noise depends on nothing else but the seed.
      images: uint8 [B, H, W, 3].
      distance: float32 [B], L2 norms in pixel units.

    Returns:
      uint8 [B, H, W, 3].
    """
    originals = images.astype(jnp.float32)
    keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(index)

    def noisy(length):
        added = jax.vmap(lambda key, x, r: gaussian_noise(key, x[None], r[None])[0])
        return to_uint8(added(keys, originals, length))

    def correct(_, length):
        change = noisy(length).astype(jnp.float32) - originals
        reached = jnp.sqrt(jnp.sum(change**2, axis=(1, 2, 3)))
        # At most doubled: an image without room must not ask for endless noise.
        return length * jnp.clip(distance / jnp.maximum(reached, 1e-6), 0.5, 2.0)

    return noisy(jax.lax.fori_loop(0, _CORRECTIONS, correct, distance))


@functools.partial(jax.jit, static_argnames=("steps", "targeted"))
def pgd_control(
    logits_fns: Sequence[LogitsFn],
    images: jax.Array,
    labels: jax.Array,
    distance: jax.Array,
    steps: int,
    targeted: bool = False,
) -> jax.Array:
    """Attacks all target classifiers together by projected gradient descent, white box.

    Args:
      logits_fns: the targets.
      images: uint8 [B, H, W, 3].
      labels: int32 [B], the true classes, or with `targeted` the classes to be read instead.
      distance: float32 [B], greatest L2 norms in pixel units, before rounding.
      steps: of the descent.
      targeted: go toward `labels` rather than away from them.

    Returns:
      uint8 [B, H, W, 3].
    """
    originals = images.astype(jnp.float32)
    return to_uint8(pgd_l2(logits_fns, originals, labels, distance, steps, targeted=targeted))
