"""Class planes: constant planes of +1 and -1 that tell the learned stage the class of an image.

They are inputs of its conditioners beside the planes of the token, so that it can make another
pattern for each class, as a poison needs. Plane p of class k is the sign of bit p of 40,075 k: +1
where the bit is 0, -1 where it is 1. (Our own code: as the factor is odd, P planes tell 2^P classes
apart; with 16, any two of the first 20 classes differ in five planes or more, and each plane is +1
for 9 to 12 of them. Classes that differ by 2^P share their planes.)

Planes are constant over the image: tiles of a photograph agree whatever their size and place,
sampling at a coarser level leaves them as they are, and the zeros around an image, with which
convolutions pad it, stand out against them, so that a network can see how far away the border is.
"""

import flax.struct
import jax
import jax.numpy as jnp

_FACTOR = 40_075


@flax.struct.dataclass
class ClassInfo:
    """What recovery needs of each image where a stage was given its class.

    Attributes:
      label: int32 [B], the class.
    """

    label: jax.Array


def class_signs(labels: jax.Array, count: int) -> jax.Array:
    """The signs of classes in all planes.

    Args:
      labels: int [B], 0 or more.
      count: of planes, at most 16.

    Returns:
      float32 [B, count], +1 and -1.
    """
    codes = jnp.asarray(labels).astype(jnp.uint32) * jnp.uint32(_FACTOR)
    bits = codes[:, None] >> jnp.arange(count, dtype=jnp.uint32) & 1
    return 1.0 - 2.0 * bits.astype(jnp.float32)


def conditioning(
    x: jax.Array, token: jax.Array | None, labels: jax.Array | None, class_planes: int
) -> jax.Array | None:
    """What conditioners are given beside the image: the planes of its token, then of its class.

    Args:
      x: the images, [B, H, W, C], of which only shape and type are used.
      token: +1 and -1, [B, H, W, P]; None for no planes.
      labels: int [B], the class of each image; not used where there are no class planes.
      class_planes: number of class planes Q; 0 for none.

    Returns:
      [B, H, W, P + Q] of the type of `x`; None where there are none.

    Raises:
      ValueError: class planes are wanted, and there are no labels.
    """
    planes = [] if token is None else [token.astype(x.dtype)]
    if class_planes:
        if labels is None:
            raise ValueError(f"class_planes={class_planes} needs the labels of the images")
        signs = class_signs(labels, class_planes)[:, None, None, :].astype(x.dtype)
        planes.append(jnp.broadcast_to(signs, (*x.shape[:3], class_planes)))
    return jnp.concatenate(planes, axis=-1) if planes else None
