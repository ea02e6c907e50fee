"""The attack layer: differentiable distortions of `DISTORTIONS`, drawn at random in training.

Each call draws one distortion and its strength for the whole batch. All randomness comes from the
key and from each image's index in the global batch, so the result does not depend on how the batch
is spread over devices. A distorted image is an 8-bit image again: rounded and clipped with
straight-through gradients.
"""

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from raeg_jax.adversarial.distortions import DISTORTIONS
from raeg_jax.errors import UserError
from raeg_jax.image.quantise import quantise


def attack_layer(
    key: jax.Array,
    images: jax.Array,
    settings: ConfigDict,
    index: jax.Array | None = None,
) -> jax.Array:
    """Distorts a batch by one distortion, drawn by `settings.probability`.

    Args:
      key: a scalar of `jax.random.key`; the same on every device.
      images: float32 [B, H, W, 3], in pixel units.
      settings: `config.attack_layer`, see `check_settings`; static.
      index: int32 [B], each image's index in the global batch; default 0..B-1.

    Returns:
      float32 [B, H, W, 3]: integers in 0..255, or `images` unchanged where identity was drawn.
    """
    # Distortions of probability 0 are not even compiled.
    probabilities = {name: p for name, p in sorted(settings.probability.items()) if p > 0}
    if set(probabilities) == {"identity"}:
        return images
    if index is None:
        index = jnp.arange(images.shape[0])
    key_choice, key_distortion = jax.random.split(key)
    logits = jnp.log(jnp.array(list(probabilities.values()), jnp.float32))
    branches = [_branch(name, settings) for name in probabilities]
    choice = jax.random.categorical(key_choice, logits)
    return jax.lax.switch(choice, branches, key_distortion, images, index)


def _branch(name, settings):
    distortion = DISTORTIONS[name]
    bounds: Any = settings[distortion.setting] if distortion.setting else None

    def run(key, images, index):
        if name == "identity":
            return images
        if distortion.limits is None:
            return quantise(distortion.apply(images, bounds, bounds))
        random: list = []
        if distortion.random_keys:
            key, *keys = jax.random.split(key, 1 + distortion.random_keys)
            random = [keys, index]
        low, high = bounds
        if distortion.is_whole:
            strength = jax.random.randint(key, (), low, high + 1)
        else:
            strength = jax.random.uniform(key, (), minval=low, maxval=high)
        return quantise(distortion.apply(images, strength, high, *random))

    return run


def check_settings(settings: ConfigDict) -> None:
    """Checks what the rules of single settings can't say.

    Args:
      settings: `config.attack_layer`.

    Raises:
      UserError: no distortion has a probability, or a window has no middle.
    """
    if not any(settings.probability.values()):
        raise UserError("attack_layer.probability: all are 0; set identity to 1 for no distortion")
    if settings.median_size % 2 == 0:
        raise UserError(f"attack_layer.median_size = {settings.median_size}: must be odd")
