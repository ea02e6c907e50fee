"""Classifiers whose best attack is known, and images for them."""

import functools

import jax.numpy as jnp
import numpy as np

SHAPE = (6, 8, 8, 3)
LABELS = np.array([0, 1, 2, 3, 1, 0])
# One image for each pixel value, 1 there and 0 elsewhere: what linear classifiers weigh.
UNITS = np.eye(8 * 8 * 3, dtype=np.float32).reshape(-1, 8, 8, 3)


def images_of(low=0, high=255, seed=0):
    return np.random.default_rng(seed).uniform(low, high, SHAPE).astype(np.float32)


@functools.cache
def linear(seed=0, scale=1e-3, classes=4):
    """Logits linear in the pixels, so that the steepest direction is the same everywhere."""
    weights = np.random.default_rng(seed).normal(0, scale, (8 * 8 * 3, 4)).astype(np.float32)
    return lambda images: images.reshape(len(images), -1) @ weights[:, :classes]


@functools.cache
def curved(seed=0):
    """A small two-layer net."""
    rng = np.random.default_rng(seed)
    first = rng.normal(0, 0.1, (8 * 8 * 3, 16)).astype(np.float32)
    second = rng.normal(0, 0.5, (16, 4)).astype(np.float32)
    return lambda images: jnp.tanh((images.reshape(len(images), -1) / 127.5 - 1) @ first) @ second


def distance(a, b):
    """L2 norm of each image's difference, in float64."""
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return np.sqrt(np.sum(difference**2, axis=(1, 2, 3)))
