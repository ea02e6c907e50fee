"""Random flips and shifts of a batch of training images."""

import numpy as np


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
    """Pads by reflection, then crops each image back to its size at a random place.

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
    places = generator.integers(0, 2 * padding + 1, size=(len(images), 2))
    shifted = [
        image[top : top + size, left : left + size]
        for image, (top, left) in zip(padded, places, strict=True)
    ]
    return np.stack(shifted)
