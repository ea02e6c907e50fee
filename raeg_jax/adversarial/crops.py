"""Random crops between an attack and its targets, so that it doesn't depend on one position."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from raeg_jax.image.resize import crop_resize
from raeg_jax.networks.classifiers import LogitsFn
from raeg_jax.networks.layers import preprocessing_of


def random_crops(
    networks: Sequence[LogitsFn], shape: Sequence[int], step: jax.Array | int, least: float
) -> list[LogitsFn]:
    """Networks that see a part of their images, resized: with published weights to their own size.

    Args:
      networks: to look through the crop, the same for all and for all images of a batch.
      shape: of the images, [B, H, W, 3].
      step: of the attack; each has a crop of its own, which is the same in every call.
      least: share of each side that is kept at least, the same of both, drawn uniformly from here
        to 1; with 1 networks see images as they are.
    """
    if least == 1:
        return list(networks)
    share, *corner = jax.random.uniform(jax.random.fold_in(jax.random.key(0), step), (3,))
    height, width = (
        jnp.maximum(jnp.round(n * (least + (1 - least) * share)), 1) for n in shape[1:3]
    )
    # Whole numbers from 0 to what is left, all as likely.
    top = jnp.floor(corner[0] * (shape[1] - height + 1))
    left = jnp.floor(corner[1] * (shape[2] - width + 1))

    def seen(network):
        preprocessing = preprocessing_of(getattr(network, "module", None))
        size = (preprocessing.crop,) * 2 if preprocessing else None
        return lambda images: network(crop_resize(images, top, left, height, width, size))

    return list(map(seen, networks))
