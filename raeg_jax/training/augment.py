"""Random augmentation inside a training step: that of `data.augment`, with gradients.

All randomness comes from a key and from each image's index in the global batch, so the result does
not depend on how the batch is spread over devices.
"""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from raeg_jax.image import filters
from raeg_jax.image.quantise import round_ste
from raeg_jax.image.resize import resampling_matrix


def augment(key: jax.Array, images: jax.Array, settings: ConfigDict, index: jax.Array) -> jax.Array:
    """Flips, crops, shifts, turns to grey and covers images, as `data.TrainIterator` does.

    Args:
      key: a scalar of `jax.random.key`; the same on every device.
      images: float32 [B, S, S, 3] in pixel units.
      settings: `config.augment`, static; `mixup` is left out, as it changes labels too.
      index: int32 [B], each image's index in the global batch.

    Returns:
      float32 [B, S, S, 3].
    """
    flips, parts, starts, shifts, greys, covers = (
        jax.vmap(lambda i, k=k: jax.random.fold_in(k, i))(index) for k in jax.random.split(key, 6)
    )
    size = images.shape[1]
    if settings.flip:
        images = flip(images, jax.vmap(jax.random.bernoulli)(flips))
    if settings.crop_share < 1:
        sides = _whole(parts, max(1, round(settings.crop_share * size)), size + 1)
        images = part(images, _whole(starts, 0, size - sides + 1), sides)
    if padding := settings.crop_padding:
        images = shift(images, padding, _whole(shifts, 0, 2 * padding + 1))
    if settings.grey:
        images = grey(images, jax.vmap(lambda k: jax.random.bernoulli(k, settings.grey))(greys))
    if settings.cutout:
        images = cutout(images, settings.cutout, _whole(covers, 0, size))
    return images


def _whole(keys: jax.Array, low: int, limit: jax.Array | int) -> jax.Array:
    """Two random whole numbers for each key, from `low` to below `limit` [B, 2]: int32 [B, 2]."""
    limits = jnp.broadcast_to(limit, (len(keys), 2))
    return jax.vmap(lambda key, most: jax.random.randint(key, (2,), low, most))(keys, limits)


def flip(images: jax.Array, mirrored: jax.Array) -> jax.Array:
    """Mirrors images left to right where `mirrored`, bool [B]."""
    return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


def shift(images: jax.Array, padding: int, offsets: jax.Array) -> jax.Array:
    """Pads by reflection, then crops each image to its size.

    Args:
      images: float32 [B, S, S, 3].
      padding: in pixels, below S.
      offsets: int32 [B, 2], 0 to 2 * padding: rows and columns cut off at the start.
    """
    size = images.shape[1]
    place = offsets[:, :, None] - padding + jnp.arange(size)
    place = (size - 1) - jnp.abs((size - 1) - jnp.abs(place))
    # Products with matrices of zeros and ones: exact, and faster than gathering.
    return _apply(jax.nn.one_hot(place, size), images)


def part(images: jax.Array, starts: jax.Array, sides: jax.Array) -> jax.Array:
    """Enlarges a part of each image to the image's size, bilinearly.

    Args:
      images: float32 [B, S, S, 3].
      starts: int32 [B, 2], first row and column of the part.
      sides: int32 [B, 2], its height and width.

    Returns:
      Whole numbers, float32 [B, S, S, 3]; rounding passes gradients through.
    """
    size = images.shape[1]
    matrices = jax.vmap(jax.vmap(lambda start, side: resampling_matrix(size, start, side, size)))
    return round_ste(_apply(matrices(starts, sides), images))


def _apply(matrices: jax.Array, images: jax.Array) -> jax.Array:
    """Maps rows and columns of each image by its matrices [B, 2, S, S]."""
    return jax.vmap(lambda x, each: filters.apply_separable(x[None], *each)[0])(images, matrices)


def grey(images: jax.Array, chosen: jax.Array) -> jax.Array:
    """Gives all channels the luma where `chosen`, bool [B]; rounding passes gradients through."""
    return jnp.where(chosen[:, None, None, None], round_ste(filters.grey(images)), images)


def cutout(images: jax.Array, share: float, centres: jax.Array) -> jax.Array:
    """Paints a grey square over each image (DeVries and Taylor, arXiv 1708.04552).

    Args:
      images: float32 [B, S, S, 3].
      share: side of the square, of the image's.
      centres: int32 [B, 2], row and column, 0 to S - 1.
    """
    size = images.shape[1]
    side = round(share * size)
    first = (centres - side // 2)[:, :, None]
    place = jnp.arange(size)
    inside = (first <= place) & (place < first + side)
    covered = inside[:, 0, :, None] & inside[:, 1, None, :]
    return jnp.where(covered[..., None], 128.0, images)
