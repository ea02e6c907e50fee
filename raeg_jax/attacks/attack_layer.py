"""The attack layer: distortions that a pirate may apply, drawn at random, differentiable.

Each call draws one distortion for the whole batch, and its parameters. Everything random comes from
the key and from each image's place in the global batch, so the result doesn't depend on how the
batch is spread over devices. A distorted image is an 8-bit image again: rounded and clipped with
straight-through gradients.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from raeg_jax.errors import UserError
from raeg_jax.image.filters import bit_depth, blur_radius, gaussian_blur, median_blur
from raeg_jax.image.jpeg import jpeg
from raeg_jax.image.quantise import quantise
from raeg_jax.image.resize import crop_resize, rescale

Attack = Callable[[jax.Array, jax.Array, jax.Array, ConfigDict], jax.Array]

# Smallest and largest value that each setting may take; whole numbers where these are.
LIMITS: dict[str, tuple[float, float]] = {
    "jpeg_quality": (1, 100),
    "blur_sigma": (0.0, 100.0),
    "rescale_factor": (0.01, 1.0),
    "noise_std": (0.0, 255.0),
    "bits": (1, 8),
    "crop_share": (0.01, 1.0),
}


def attack_layer(
    key: jax.Array,
    images: jax.Array,
    settings: ConfigDict,
    index: jax.Array | None = None,
) -> jax.Array:
    """Distorts a batch by one attack, drawn by `settings.probability`.

    Args:
      key: a scalar of `jax.random.key`; the same on every device.
      images: float32 [B, H, W, 3], in pixel units.
      settings: `config.attack_layer`; static.
      index: int32 [B], each image's place in the global batch; default 0..B-1.

    Returns:
      float32 [B, H, W, 3]: integers in 0..255, or `images` unchanged where identity was drawn.

    Raises:
      UserError: if a setting is impossible; see `check_settings`.
    """
    check_settings(settings)
    # Attacks that can't be drawn are not even compiled.
    chances = {name: p for name, p in sorted(settings.probability.items()) if p > 0}
    if set(chances) == {"identity"}:
        return images
    if index is None:
        index = jnp.arange(images.shape[0])
    key_choice, key_attack = jax.random.split(key)
    logits = jnp.log(jnp.array(list(chances.values()), jnp.float32))
    branches = [_branch(ATTACKS[name], settings) for name in chances]
    choice = jax.random.categorical(key_choice, logits)
    return jax.lax.switch(choice, branches, key_attack, images, index)


def check_settings(settings: ConfigDict) -> None:
    """Stops at the first impossible setting of the attack layer.

    Args:
      settings: `config.attack_layer`.

    Raises:
      UserError: naming the setting, its value and what is allowed.
    """
    for name, probability in settings.probability.items():
        if name not in ATTACKS:
            known = ", ".join(ATTACKS)
            raise UserError(f"attack_layer.probability.{name}: no such attack; known are {known}")
        if not 0 <= probability < float("inf"):
            raise UserError(f"attack_layer.probability.{name} = {probability}: must be 0 or more")
    if not any(settings.probability.values()):
        raise UserError("attack_layer.probability: all are 0; set identity to 1 for no attack")
    for name, (low, high) in LIMITS.items():
        value, kind = settings[name], int if isinstance(low, int) else (int, float)
        is_range = len(value) == 2 and all(isinstance(v, kind) for v in value)
        if not (is_range and low <= value[0] <= value[1] <= high):
            numbers = "whole numbers" if kind is int else "numbers"
            raise UserError(
                f"attack_layer.{name} = {value}: must be two {numbers} in {low}..{high}, "
                "smallest first"
            )
    size = settings.median_size
    if size < 1 or size % 2 == 0:
        raise UserError(f"attack_layer.median_size = {size}: must be odd and positive")


def _branch(attack, settings):
    def run(key, images, index):
        attacked = attack(key, images, index, settings)
        return attacked if attack is _identity else quantise(attacked)

    return run


def _identity(key, images, index, settings):
    return images


def _jpeg(key, images, index, settings):
    return jpeg(images, _integer(key, settings.jpeg_quality))


def _gaussian_blur(key, images, index, settings):
    radius = blur_radius(settings.blur_sigma[1])
    return gaussian_blur(images, _uniform(key, settings.blur_sigma), radius)


def _median_blur(key, images, index, settings):
    return median_blur(images, settings.median_size)


def _rescale(key, images, index, settings):
    return rescale(images, _uniform(key, settings.rescale_factor))


def _gaussian_noise(key, images, index, settings):
    key_std, key_noise = jax.random.split(key)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key_noise, index)
    noise = jax.vmap(lambda k: jax.random.normal(k, images.shape[1:]))(keys)
    return images + _uniform(key_std, settings.noise_std) * noise


def _bit_depth(key, images, index, settings):
    return bit_depth(images, _integer(key, settings.bits))


def _crop_resize(key, images, index, settings):
    key_share, key_top, key_left = jax.random.split(key, 3)
    share = _uniform(key_share, settings.crop_share)
    height, width = (_share_of(size, share) for size in images.shape[1:3])
    top = jax.random.randint(key_top, (), 0, images.shape[1] - height + 1)
    left = jax.random.randint(key_left, (), 0, images.shape[2] - width + 1)
    return crop_resize(images, top, left, height, width)


# Each takes (key, images, index, settings) and returns images of the same shape.
ATTACKS: dict[str, Attack] = {
    "identity": _identity,
    "jpeg": _jpeg,
    "gaussian_blur": _gaussian_blur,
    "median_blur": _median_blur,
    "rescale": _rescale,
    "gaussian_noise": _gaussian_noise,
    "bit_depth": _bit_depth,
    "crop_resize": _crop_resize,
}


def _uniform(key, bounds):
    low, high = bounds
    return jax.random.uniform(key, (), minval=low, maxval=high)


def _integer(key, bounds):
    low, high = bounds
    return jax.random.randint(key, (), low, high + 1)


def _share_of(size, share):
    return jnp.clip(jnp.round(size * share), 1, size).astype(jnp.int32)
