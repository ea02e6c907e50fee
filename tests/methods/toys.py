"""Small images and classifiers whose best attack is known."""

import functools

import numpy as np
import skimage.data
from hypothesis import strategies as st

CLASSES = 4
KINDS = ("natural", "flat", "saturated", "noise", "on white")


@functools.cache
def astronaut():
    return skimage.data.astronaut()


def picture(kind, height, width, seed=0):
    """uint8 [height, width, 3] of some kind."""
    random = np.random.default_rng(seed)
    shape = height, width, 3
    if kind == "flat":
        return np.full(shape, random.integers(0, 256), np.uint8)
    if kind == "saturated":
        ends = random.choice([0, 255], (1, width, 1)) + random.normal(0, 3, shape)
        return np.clip(ends, 0, 255).astype(np.uint8)
    if kind == "noise":
        return random.integers(0, 256, shape).astype(np.uint8)
    top, left = random.integers(0, 512 - np.array([height, width]))
    image = astronaut()[top : top + height, left : left + width].copy()
    if kind == "on white":
        image[: height // 3] = 255
    return image


def disturbed(image, size=8.0, seed=0):
    """What an attack might have found: float32, within 0..255."""
    change = np.random.default_rng(seed).normal(0, size, image.shape)
    return np.clip(image + change, 0, 255).astype(np.float32)


SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.integers(1, 30)
PICTURES = st.builds(picture, st.sampled_from(KINDS), SIDES, SIDES, SEEDS)


class Linear:
    """Logits linear in the pixels of images of one size."""

    def __init__(self, height, width, seed=0):
        random = np.random.default_rng(seed)
        self.weights = random.normal(0, 0.01, (height * width * 3, CLASSES)).astype(np.float32)

    def __call__(self, images):
        return images.reshape(len(images), -1) @ self.weights
