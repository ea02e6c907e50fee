"""Images as the bytes of their files: what is reported exists on disk."""

import io

import numpy as np
from PIL import Image


def encode_png(image: np.ndarray) -> bytes:
    """Encodes uint8 [H, W, 3] as an RGB PNG file."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"a PNG takes uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def decode_png(data: bytes) -> np.ndarray:
    """Reads a PNG file as uint8 [H, W, 3]."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def png_roundtrip(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Encodes each image as a PNG file and reads it back.

    Args:
      images: uint8 [B, H, W, 3].

    Returns:
      The images read back, uint8 [B, H, W, 3], and the size of each file in bytes, int64 [B].

    Raises:
      ValueError: other types or shapes: float images would be truncated, not rounded.
    """
    files = [encode_png(image) for image in np.asarray(images)]
    if not files:
        raise ValueError("no images to write: got an empty batch")
    return np.stack([decode_png(f) for f in files]), np.array([len(f) for f in files], np.int64)
