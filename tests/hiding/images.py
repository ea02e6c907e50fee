"""Images for tests, and the round trip that all must survive."""

import functools
import hashlib

import numpy as np
import skimage.data

from raeg_jax.hiding import embed, extract

astronaut = functools.cache(skimage.data.astronaut)


def image_of_kind(kind, seed, height, width, channels):
    """An image of some kind: what hypothesis varies bit by bit is all noise."""
    generator = np.random.default_rng(seed)
    shape = height, width, channels
    if kind == "noise":
        return generator.integers(0, 256, shape).astype(np.uint8)
    if kind == "flat":
        return np.full(shape, generator.integers(0, 256), np.uint8)
    if kind == "saturated":
        ends = generator.choice([0, 255], (1, width, 1)) + generator.normal(0, 3, shape)
        return np.clip(ends, 0, 255).astype(np.uint8)
    top, left = generator.integers(0, 512 - np.array([height, width]))
    image = astronaut()[top : top + height, left : left + width, :channels].copy()
    if kind == "on white":
        image[: height // 3], image[:, : width // 3] = 255, 255
    return image


def noisy(slope, seed, levels):
    """Adds noise of some levels to a slope [H, W, C], the same everywhere."""
    noise = np.frombuffer(hashlib.shake_256(seed).digest(slope.size), np.uint8)
    return np.minimum(slope + noise.reshape(slope.shape) % levels, 255).astype(np.uint8)


def check_round_trip(image, message):
    before = image.copy()
    marked = embed(image, message)
    np.testing.assert_array_equal(image, before)
    assert (marked.shape, marked.dtype) == (image.shape, np.uint8)
    recovered, extracted = extract(marked)
    np.testing.assert_array_equal(recovered, image)
    assert recovered.dtype == np.uint8
    assert extracted == message
    return marked
