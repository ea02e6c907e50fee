"""Gradient couplings of whole photographs in plain NumPy: the inverse, with `integer_classifiers`.

Written from the docstrings, not from the code.
"""

import math

import numpy as np

from tests.oracles.integer_classifiers import whole
from tests.oracles.integer_gradient import divide, fill, lead, rms, round_mask, shift, to_rms
from tests.oracles.integer_views import view

WORKING = 320
_WORD = 2**32 - 1


def inverse(
    values, table, tokens, networks, *, bound, margin, steps, others, momentum, views
):  # fmt: skip
    """Recovers photographs one by one.

    Args:
      values: integers [H, W, 3] each.
      table: int [n, 5], the side information.
      tokens: +1 and -1, [H, W, P] each.
      networks: pairs of a function from images to logits and a pullback, such as
        `integer_classifiers.lite`, and of the side of its input.
      bound, margin, steps, others, momentum: of the coupling and its conditioner.
      views: pairs of a frame and a quality.

    Returns:
      int32 [H, W, 3] each.
    """
    of_guide = networks, steps, others, momentum, views
    return [
        _recover(*each, bound, margin, of_guide) for each in zip(values, table, tokens, strict=True)
    ]


def _recover(y, row, token, bound, margin, of_guide):
    label, rounds, part, reach, step = map(int, row)
    x, words = np.array(y, np.int32)[None], _words(token)
    H, W = y.shape[:2]
    side = -(-max(H, W) // WORKING)
    for index in reversed(range(rounds)):
        mask = round_mask(x.shape, index, token[None])
        filled, *ends = fill(x, mask)
        means = _means(np.clip(filled[0], 0, 255), side)
        moved = _descend(means, label, words, index, reach // 2, *of_guide)
        direction = np.kron(moved, np.ones((side, side, 1), int))[None, :H, :W]
        parts = np.array([part if index == rounds - 1 else 32])
        x = x - shift(direction, mask, *ends, step, parts, bound, margin)
    return x[0]


def _means(image, side):
    """Of cells, in sixteenths: int [h, w, 3]."""
    starts = [np.arange(0, length, side) for length in image.shape[:2]]
    sums = np.add.reduceat(np.add.reduceat(image, starts[0], axis=0), starts[1], axis=1)
    tall, wide = (
        np.diff(start, append=length) for start, length in zip(starts, image.shape[:2], strict=True)
    )
    return divide(16 * sums, np.multiply.outer(tall, wide)[..., None])


def _descend(means, label, words, index, radius, networks, steps, others, momentum, views):
    height, width = means.shape[:2]
    padding = ((0, WORKING - height), (0, WORKING - width), (0, 0))
    start = np.pad(means, padding, mode="edge")[None]
    inside = np.pad(np.ones_like(means), padding)[None]
    side = math.isqrt(32**2 * height * width)
    unit, radius, length = (
        max(1, n * side // (32 * WORKING)) for n in (256, radius, divide(5 * radius, 2 * steps))
    )
    displacement, direction = np.zeros_like(start), np.zeros_like(start)
    for number in range(steps):
        frame, quality = views[number % len(views)]
        seen = start + displacement
        if quality:
            seen, _ = view("jpeg", quality)(seen)
        box = _box(frame, (height, width), _draws(words, index * steps + number))
        network, count = networks[number % len(networks)]
        seen, pull_part = _part(seen, *box, (height, width), (count, count))
        logits, pull = network(np.float32(seen) / 16)
        value, gradient = lead(logits, np.array([label]), None, others)
        # Alone a classifier counts half where it errs, by more than 1, and more where it doesn't.
        weight = np.clip(8 + divide(np.maximum(value + 64, 0), 16), 1, 16)
        slope, _ = whole(pull_part(pull(np.float32(-weight[:, None] * gradient))), 12)
        direction = divide(direction * round(32 * momentum), 32) + to_rms(slope * inside, unit)
        direction = np.clip(direction, -4095, 4095)
        displacement = np.clip(displacement + to_rms(direction, length), -4095, 4095)
        if rms(displacement) > radius:
            displacement = to_rms(displacement, radius)
        displacement = np.clip(start + displacement, 0, 4080) - start
    return displacement[0, :height, :width]


def _words(token):
    """Sums of constants over the negative signs, eight numbers."""
    rows, columns = ((2 * np.arange(32) + 1) * length // 64 for length in token.shape[:2])
    negative = np.flatnonzero(token[np.ix_(rows, columns)] < 0).tolist()
    return [sum(_mixed(8 * place + word) for place in negative) & _WORD for word in range(8)]


def _draws(words, step):
    numbers = range(4 * step, 4 * step + 4)
    for place, word in enumerate(words):
        numbers = [_mixed(number + word + place & _WORD) for number in numbers]
    return numbers


def _mixed(number):
    """The finaliser of MurmurHash3."""
    for bits, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        number = (number ^ number >> bits) * factor & _WORD
    return number ^ number >> 16


def _box(frame, sizes, numbers):
    """(starts, lengths) of rows and columns, in sixteenths of a pixel."""
    if frame == "whole":
        return (0, 0), [16 * size for size in sizes]
    if frame == "centre":
        length = 14 * min(sizes)
        return [(16 * size - length) // 2 for size in sizes], (length, length)
    # Shares of .7 to 1 in 1,024ths, places in 65,536ths.
    shares = [717 + (307 * (number >> 22) >> 10) for number in numbers[:2]]
    lengths = [max(16, 16 * size * n >> 10) for size, n in zip(sizes, shares, strict=True)]
    starts = [
        (16 * size - length) * (number >> 16) >> 16
        for size, length, number in zip(sizes, lengths, numbers[2:], strict=True)
    ]
    return starts, lengths


def resized(x, shape):
    """Whole images, resized, in sixteenths: int64 [B, *shape, 3], and the pullback."""
    sizes = x.shape[1:3]
    return _part(x, (0, 0), [16 * size for size in sizes], sizes, shape)


def _part(x, starts, lengths, sizes, counts):
    """A part, resized, in sixteenths: int64 [B, *counts, 3], and the pullback."""
    rows, columns = (
        _weights(*each) for each in zip(starts, lengths, sizes, counts, x.shape[1:3], strict=True)
    )
    # Exact in float64; ties go to even.
    x = np.rint(np.einsum("ih,bhwc->biwc", rows, np.int64(x)) / 128).astype(np.int64)
    x = np.rint(np.einsum("jw,bhwc->bhjc", columns, x) / 128).astype(np.int64)

    def pull(g):
        numbers, first = whole(g, 8)
        sums = np.einsum("jw,bijc->biwc", columns, np.int64(numbers))
        numbers, second = whole(np.float32(sums), 8)
        sums = np.einsum("ih,biwc->bhwc", rows, np.int64(numbers))
        assert np.abs(sums).max() < 2**24
        return np.ldexp(np.float32(sums), first + second - 14)

    return x, pull


def _weights(start, length, limit, count, size):
    """Of all pixels of an axis, in 128ths: int64 [count, size]."""
    # In 1 / (32 count) of a pixel.
    centres = 2 * count * start + (2 * np.arange(count)[:, None] + 1) * length
    pixels = 32 * count * np.arange(size) + 16 * count
    heights = np.maximum(max(32 * count, 2 * length) - np.abs(pixels - centres), 0) // 16
    ends = np.cumsum(np.where(np.arange(size) < limit, heights, 0), axis=1)
    return np.diff(divide(128 * ends, ends[:, -1:]), prepend=0, axis=1)
