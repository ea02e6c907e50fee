"""Random augmentation of a batch of training images."""

import numpy as np
from PIL import Image

_LUMA = (0.299, 0.587, 0.114)


def random_flip(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Mirrors each image left to right with probability one half.

    Args:
      images: uint8 [B, S, S, 3].
      generator: source of randomness.

    Returns:
      A new array of the same shape.
    """
    mirrored = generator.random(len(images)) < 0.5
    return np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


def random_shift(images: np.ndarray, padding: int, generator: np.random.Generator) -> np.ndarray:
    """Pads by reflection, then crops each image to its size at a random offset.

    Args:
      images: uint8 [B, S, S, 3].
      padding: largest shift in pixels, below S.
      generator: source of randomness.

    Returns:
      A new array of the same shape.
    """
    size = images.shape[1]
    sides = (padding, padding)
    padded = np.pad(images, ((0, 0), sides, sides, (0, 0)), mode="reflect")
    offsets = generator.integers(0, 2 * padding + 1, size=(len(images), 2))
    shifted = [
        image[top : top + size, left : left + size]
        for image, (top, left) in zip(padded, offsets, strict=True)
    ]
    return np.stack(shifted)


def random_part(images: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Cuts a random part out of each image and enlarges it to the image's size, bilinearly.

    As of Inception (Szegedy et al., arXiv 1409.4842), but with sides that are drawn one by one.

    Args:
      images: uint8 [B, S, S, 3].
      share: of each side that is kept at least, 0 to 1.
      generator: source of randomness.

    Returns:
      A new array of the same shape.
    """
    size = images.shape[1]
    sides = generator.integers(max(1, round(share * size)), size + 1, size=(len(images), 2))
    starts = generator.integers(0, size - sides + 1)
    parts = [
        image[top : top + rows, left : left + columns]
        for image, (top, left), (rows, columns) in zip(images, starts, sides, strict=True)
    ]
    enlarged = [
        Image.fromarray(part).resize((size, size), Image.Resampling.BILINEAR) for part in parts
    ]
    return np.stack([np.asarray(image) for image in enlarged])


def random_grey(
    images: np.ndarray, probability: float, generator: np.random.Generator
) -> np.ndarray:
    """Makes images grey: all channels get the luma of ITU-R BT.601.

    Args:
      images: uint8 [B, S, S, 3].
      probability: of each image.
      generator: source of randomness.

    Returns:
      A new array of the same shape.
    """
    chosen = generator.random(len(images)) < probability
    grey = np.rint(images @ np.array(_LUMA, np.float32)).astype(np.uint8)
    return np.where(chosen[:, None, None, None], grey[..., None], images)


def random_cutout(images: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Paints a grey square over each image (DeVries and Taylor, arXiv 1708.04552).

    Its centre is anywhere in the image, so part of it may lie outside.

    Args:
      images: uint8 [B, S, S, 3].
      share: side of the square, of the image's.
      generator: source of randomness.

    Returns:
      A new array of the same shape.
    """
    size = images.shape[1]
    side = round(share * size)
    first = generator.integers(0, size, size=(len(images), 2)) - side // 2
    index = np.arange(size)
    rows, columns = (
        (first[:, i, None] <= index) & (index < first[:, i, None] + side) for i in range(2)
    )
    covered = rows[:, :, None] & columns[:, None, :]
    return np.where(covered[..., None], np.uint8(128), images)


def mix(
    images: np.ndarray, alpha: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blends each image with another one of the batch (mixup, Zhang et al., arXiv 1710.09412).

    Args:
      images: uint8 [B, S, S, 3].
      alpha: of the symmetric Beta distribution from which the weights are drawn.
      generator: source of randomness.

    Returns:
      The blended images, rounded to uint8; the index of each image's partner, int [B]; and the
      weight of the image itself, float32 [B].
    """
    partner = generator.permutation(len(images))
    share = generator.beta(alpha, alpha, size=len(images)).astype(np.float32)
    weight = share[:, None, None, None]
    blended = np.rint(weight * images + (1 - weight) * images[partner]).astype(np.uint8)
    return blended, partner, share
