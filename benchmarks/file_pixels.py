"""What files show, read with Pillow alone: a check of the tool that doesn't use the tool's code."""

import math
import os

import numpy as np
from PIL import Image, ImageOps

from raeg_jax.image.metrics import PSNR_CAP


def shown(path: os.PathLike | str) -> np.ndarray:
    """Decodes an image file, turned as its EXIF orientation says.

    Returns:
      uint8 [H, W] of a grey image, [H, W, 2] with alpha; [H, W, 3] or [H, W, 4] of any other. A
      transparent colour or palette entry is alpha, an image of two colours grey.
    """
    with Image.open(path) as image:
        kind = "L" if image.mode in ("1", "L", "LA") else "RGB"
        alpha = "A" if image.has_transparency_data else ""
        return np.asarray(ImageOps.exif_transpose(image.convert(kind + alpha)))


def colours(image: np.ndarray) -> np.ndarray:
    """What `shown` returns in RGB and without alpha: uint8 [H, W, 3]."""
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=-1)
    return np.repeat(image[..., :1], 3, axis=-1) if image.shape[-1] == 2 else image[..., :3]


def wrong_pixels(original: np.ndarray, found: np.ndarray) -> int:
    """Counts the pixels of which any sample differs: all of them if size or kind do.

    Args:
      original: uint8 [H, W] or [H, W, C].
      found: the same, of any shape.
    """
    if found.shape != original.shape:
        return original.shape[0] * original.shape[1]
    differ = found != original
    return int(np.count_nonzero(differ if differ.ndim == 2 else differ.any(axis=-1)))


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """PSNR in decibels between two images uint8 [H, W, C]; of equal ones `PSNR_CAP`."""
    difference = np.maximum(one, other) - np.minimum(one, other)
    total = int(np.einsum("ijk,ijk->", difference, difference, dtype=np.int64))
    return 10 * math.log10(255**2 * difference.size / total) if total else PSNR_CAP
