"""Patterns that a network can take for a class: waves, or squares of colour.

All of them repeat after some pixels, and go up and down in some colours. They are made of whole
numbers, the same on every machine.
"""

import functools
import math

import numpy as np

# Pictures have much of the first and little of the others.
COLOURS = {"grey": (1, 1, 1), "red_green": (1, -1, 0), "blue_yellow": (-1, -1, 2)}
# Further classes begin anew.
MOST_CLASSES = 1024
# In samples: a wave that alternates from one to the next must not be seen at its zeros.
_OFFSET = 0.25
# Root mean square of one wave, or of one colour of cells. Of a pattern only the form counts.
_RMS = 256


def count_waves(period: int, cycles: tuple[int, int], colours: tuple[str, ...]) -> int:
    """How many waves `waves` has to choose from."""
    return len(colours) * len(_frequencies(period, cycles))


@functools.cache
def waves(
    period: int, cycles: tuple[int, int], colours: tuple[str, ...], own: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Patterns that are sums of waves, each with two frequencies and a colour.

    Args:
      period: side of the square that repeats, in pixels.
      cycles: of a wave within a period, along the axis where it has more: least and most, at most
        half of the period.
      colours: keys of `COLOURS`.
      own: how many waves each class has, at most all.
      seed: draws which class has which.

    Returns:
      The waves, int32 [n, period, period, 3], of equal strength; and which of them classes have,
      int32 [classes, own]: no two the same, and each wave about equally often. There are as many
      classes as can differ, but at most `MOST_CLASSES`.
    """
    turns = (np.arange(period) + _OFFSET) / period
    made = []
    for down, across in _frequencies(period, cycles):
        wave = np.outer(np.cos(2 * np.pi * down * turns), np.cos(2 * np.pi * across * turns))
        made += [wave[..., None] * np.array(COLOURS[colour]) for colour in colours]
    return _whole(np.stack(made)), _deal(len(made), own, seed)


@functools.cache
def cells(
    cell: int, across: int, colours: tuple[str, ...], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Patterns of squares, each of which goes up or down in each colour by a toss.

    Args:
      cell: side of one square, in pixels.
      across: cells along each side of the square that repeats.
      colours: keys of `COLOURS`.
      seed: of the tosses.

    Returns:
      The colours, int32 [n, 3], of equal strength; and the tosses of classes, int32 +1 and -1
      [classes, across, across, n]: no two the same. There are as many classes as can differ, but
      at most `MOST_CLASSES`.
    """
    steps = np.array([COLOURS[colour] for colour in colours])
    random, bits = np.random.RandomState(seed), across**2 * len(colours)
    found: dict[tuple[int, ...], None] = {}
    most = min(2**bits, MOST_CLASSES)
    while len(found) < most:
        found[tuple(random.choice([-1, 1], bits).tolist())] = None
    signs = np.array(list(found), np.int32).reshape(-1, across, across, len(colours))
    return _whole(steps[:, None, None])[:, 0, 0], signs


def _deal(count: int, own: int, seed: int) -> np.ndarray:
    """Which waves classes have, ascending in each row."""
    random = np.random.RandomState(seed)
    found: dict[tuple[int, ...], None] = {}
    most = min(math.comb(count, own), MOST_CLASSES)
    while len(found) < most:
        # Like cards: in each deal every wave comes once.
        cards = random.permutation(count)
        for start in range(0, count - own + 1, own):
            found[tuple(sorted(int(card) for card in cards[start : start + own]))] = None
    return np.array(list(found)[:most], np.int32)


def _whole(patterns: np.ndarray) -> np.ndarray:
    """All of them of equal strength."""
    strength = np.sqrt(np.mean(patterns**2, axis=(1, 2, 3), keepdims=True))
    return np.round(patterns / strength * _RMS).astype(np.int32)


def _frequencies(period: int, cycles: tuple[int, int]) -> list[tuple[int, int]]:
    """Cycles down and across in a period."""
    least, most = cycles[0], min(cycles[1], period // 2)
    numbers = range(most + 1)
    return [(down, across) for down in numbers for across in numbers if max(down, across) >= least]
