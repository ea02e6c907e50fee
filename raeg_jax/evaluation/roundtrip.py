"""Images as the bytes of their files: what is reported exists on disk."""

import numpy as np

from raeg_jax.data.decode import encode_png, to_rgb


def png_roundtrip(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Encodes each image as a PNG file and reads it back.

    Args:
      images: uint8 [B, H, W, 3].

    Returns:
      The images read back, uint8 [B, H, W, 3], and the size of each file in bytes, int64 [B].

    Raises:
      ValueError: no images, or of another type or shape.
    """
    files = [encode_png(image) for image in np.asarray(images)]
    if not files:
        raise ValueError("no images to write: got an empty batch")
    return np.stack([to_rgb(file) for file in files]), np.array([len(f) for f in files], np.int64)
