"""Views in fixed point in plain NumPy, forward and back, on sixteenths of a pixel value.

Written from the docstrings, not from the code; JPEG is Pillow's.
"""

import io
from fractions import Fraction

import numpy as np
from PIL import Image

from tests.oracles.integer_classifiers import whole

# Each result is .299, .587 and .114 of the channels; sums from the first one on are rounded.
_LUMA = np.diff(np.rint(np.cumsum([0.299, 0.587, 0.114]) * 4096).astype(np.int64), prepend=0)
_LUMA = np.stack([_LUMA] * 3)


def view(name, strength):
    """A function from images, int [B, H, W, 3] in sixteenths, to the view and its pullback."""
    if name in ("gaussian_blur", "rescale"):
        return lambda x: _linear(x, _maps(name, strength, x.shape[1:3]))
    if name == "grey":
        return lambda x: _linear(x, [(3, _LUMA)])
    straight = {"identity": lambda x, _: x, "jpeg": _jpeg, "bit_depth": _bit_depth}[name]
    return lambda x: (straight(x, strength), lambda g: g)


def _jpeg(x, quality):
    results = []
    for image in np.rint(x / 16).astype(np.uint8):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=2)
        results.append(16 * np.asarray(Image.open(file), np.int64))
    return np.stack(results)


def _bit_depth(x, bits):
    levels = np.floor(np.float64(x) * (2**bits - 1) / 4080 + 0.5)
    return np.floor(levels * 4080 / (2**bits - 1) + 0.5).astype(np.int64)


def _maps(name, strength, sides):
    """Pairs of an axis and whole weights of 2^12, int64 [results, size], in order."""
    if name == "gaussian_blur":
        return [(axis, _blur(size, strength)) for axis, size in zip((1, 2), sides, strict=True)]
    small = [max(1, round(size * strength)) for size in sides]
    shrink = [(axis, _resample(sides[axis - 1], small[axis - 1])) for axis in (1, 2)]
    return shrink + [(axis, _resample(small[axis - 1], sides[axis - 1])) for axis in (1, 2)]


def _blur(size, sigma):
    radius = max(1, int(np.ceil(4 * sigma)))
    weights = np.zeros((size, size))
    for i in range(size):
        for offset in range(-radius, radius + 1):
            j = (i + offset) % (2 * size)
            weights[i, min(j, 2 * size - 1 - j)] += np.exp(-0.5 * (offset / max(sigma, 0.05)) ** 2)
    ends = np.cumsum(weights / weights.sum(1, keepdims=True), axis=1)
    return np.diff(np.rint(ends * 4096).astype(np.int64), prepend=0, axis=1)


def _resample(size, target):
    """Triangles, widened when shrinking."""
    scale = Fraction(size, target)
    rows = []
    for i in range(target):
        distances = [abs(j + Fraction(1, 2) - (i + Fraction(1, 2)) * scale) for j in range(size)]
        weights = [max(0, 1 - distance / max(scale, 1)) for distance in distances]
        ends = [sum(weights[: j + 1]) / sum(weights) for j in range(size)]
        rows.append([int(end * 4096 + Fraction(1, 2)) for end in ends])
    return np.diff(np.array(rows, np.int64), prepend=0, axis=1)


def _linear(x, maps):
    for axis, weights in maps:
        # Exact in float64; ties go to even.
        x = np.rint(_along(axis, weights, x) / 4096).astype(np.int64)

    def pull(g):
        for axis, weights in reversed(maps):
            bits = min(12, int(np.log2(2**24 // weights.sum(0).max())))
            numbers, exponent = whole(g, bits)
            g = np.ldexp(np.float32(_along(axis, weights.T, numbers)), exponent - 12)
        return g

    return x, pull


def _along(axis, weights, x):
    return np.moveaxis(np.tensordot(weights, np.int64(x), (1, axis)), 0, axis)
