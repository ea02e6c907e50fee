"""JPEG as a view of fixed point: the same bits on every machine, and a gradient for nothing."""

import jax

from raeg_jax.image.jpeg import encode_and_decode


@jax.custom_jvp
def jpeg(images: jax.Array, quality: jax.Array | int) -> jax.Array:
    """Compresses and decompresses images as libjpeg does, and so Pillow, to the bit.

    `image.jpeg.jpeg`, whose forward pass is exact; backward, the whole codec counts as the identity
    instead of as its linear parts.

    Args:
      images: float32 [B, H, W, 3], RGB within 0..255; rounded first. Any H and W.
      quality: 1 to 100, a scalar or one for each image [B]; may be traced: one program serves all.

    Returns:
      float32 [B, H, W, 3], integers within 0..255.
    """
    return encode_and_decode(images, quality)


@jpeg.defjvp
def _jpeg_jvp(primals, tangents):
    return jpeg(*primals), tangents[0]
