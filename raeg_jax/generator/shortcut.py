"""The conditioner of shortcut stages: a faint pattern, the same in all images of a class.

A network takes the easiest way to tell its training images apart. Patterns that come with a class
are easier to learn than objects, so a pirate's network learns the patterns and fails on clean
images, which have none. Such shortcuts are why availability attacks work (Yu et al. 2021,
"Availability Attacks Create Shortcuts", arXiv 2111.00898); periodic ones suit convolutions, whose
filters are the same everywhere (Sandoval-Segura et al. 2022, "Autoregressive Perturbations for Data
Poisoning", arXiv 2206.03693). Unlike those, ours are invertible, as couplings are.

A pattern is a sum of waves, or squares ("cells") that go up or down in some colours; both repeat
after some pixels. Patterns are integers, the same on every machine.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.exact import integers

PATTERNS = ("waves", "cells")
# Weights of red, green and blue. Photographs have much of the first and little of the others.
COLOURS = {"grey": (1, 1, 1), "red_green": (1, -1, 0), "blue_yellow": (-1, -1, 2)}
# Classes beyond this number share patterns with the first ones.
MOST_CLASSES = 1024
_DIRECTION_PARTS = 16
# Phase in samples: a wave that alternates between samples must not be sampled at its zeros.
_OFFSET = 0.25
# Root mean square of one wave, or of one colour of cells. Only the form of a pattern matters.
_RMS = 256


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Shortcut:
    """A conditioner of couplings (`gradient_coupling.Conditioner`) that depends only on the label.

    Attributes:
      pattern: 'waves' or 'cells'.
      period: of waves, side of the square that repeats, in pixels. The first one starts in the
        corner of the image, or of its tile.
      cycles: of waves within a period, least and most.
      waves: number of waves of each class.
      cell: side of cells, in pixels.
      cells: along each side of the square that repeats.
      colours: keys of `COLOURS`.
      seed: of the assignment of patterns to classes.
    """

    pattern: str = "waves"
    period: int = 16
    cycles: tuple[int, int] = (4, 8)
    waves: int = 1
    cell: int = 8
    cells: int = 4
    colours: tuple[str, ...] = ("red_green", "blue_yellow")
    seed: int = 0

    portable = True

    def __call__(self, images: jax.Array, labels: jax.Array) -> jax.Array:
        """The pattern of each image's class.

        Args:
          images: [B, H, W, 3], of which only the shape is used.
          labels: int32 [B].

        Returns:
          float32 [B, H, W, 3] in pixel units, multiples of 1/16 within -255..255.
        """
        table, of_class = self._tables
        chosen = jnp.asarray(of_class)[labels % len(of_class)]
        if self.pattern == "waves":
            # Their mean: a sum of many would exceed what a coupling takes.
            square = integers.divide(jnp.sum(jnp.asarray(table)[chosen], axis=1), self.waves)
        else:
            square = jnp.sum(chosen[..., None] * table, axis=-2)
            square = jnp.repeat(jnp.repeat(square, self.cell, axis=1), self.cell, axis=2)
        height, width = images.shape[1:3]
        down, across = -(-height // square.shape[1]), -(-width // square.shape[2])
        tiled = jnp.tile(square, (1, down, across, 1))[:, :height, :width]
        return tiled.astype(jnp.float32) / _DIRECTION_PARTS

    @property
    def count(self) -> int:
        """The number of different patterns."""
        return len(self._tables[1])

    @property
    def _tables(self):
        """All waves or colours, and for each class its indices or signs."""
        if self.pattern == "cells":
            return draw_cells(self.cells, self.colours, self.seed)
        return draw_waves(self.period, self.cycles, self.colours, self.waves, self.seed)


def count_waves(period: int, cycles: tuple[int, int], colours: tuple[str, ...]) -> int:
    """The number of waves that `draw_waves` assigns."""
    return len(colours) * len(_frequencies(period, cycles))


@functools.cache
def draw_waves(
    period: int, cycles: tuple[int, int], colours: tuple[str, ...], count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Waves, each with two frequencies and a colour, and their assignment to classes.

    Args:
      period: side of the square that repeats, in pixels.
      cycles: of a wave within a period, along the axis where it has more: least and most, at most
        half of the period.
      colours: keys of `COLOURS`.
      count: number of waves of each class, at most all.
      seed: of the assignment.

    Returns:
      The waves, int32 [n, period, period, 3], of equal strength; and the indices of each class's
      waves, int32 [classes, count]: no two rows equal, and each wave about equally often. There are
      as many classes as can differ, but at most `MOST_CLASSES`.
    """
    turns = (np.arange(period) + _OFFSET) / period
    waves = []
    for down, across in _frequencies(period, cycles):
        wave = np.outer(np.cos(2 * np.pi * down * turns), np.cos(2 * np.pi * across * turns))
        waves += [wave[..., None] * np.array(COLOURS[colour]) for colour in colours]
    return _equal_strength(np.stack(waves)), _deal(len(waves), count, seed)


@functools.cache
def draw_cells(across: int, colours: tuple[str, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Colours of cells, and for each class and cell the random signs of all colours.

    Args:
      across: cells along each side of the square that repeats.
      colours: keys of `COLOURS`.
      seed: of the signs.

    Returns:
      The colours, int32 [n, 3], of equal strength; and the signs, int32 +1 and -1 [classes, across,
      across, n]: no two classes equal. There are as many classes as can differ, but at most
      `MOST_CLASSES`.
    """
    steps = np.array([COLOURS[colour] for colour in colours])
    random, bits = np.random.RandomState(seed), across**2 * len(colours)
    # A dictionary as an ordered set.
    signs: dict[tuple[int, ...], None] = {}
    while len(signs) < min(2**bits, MOST_CLASSES):
        signs[tuple(random.choice([-1, 1], bits).tolist())] = None
    table = np.array(list(signs), np.int32).reshape(-1, across, across, len(colours))
    return _equal_strength(steps[:, None, None])[:, 0, 0], table


def _deal(waves: int, count: int, seed: int) -> np.ndarray:
    """Indices of the waves of each class, ascending in each row."""
    random = np.random.RandomState(seed)
    rows: dict[tuple[int, ...], None] = {}
    most = min(math.comb(waves, count), MOST_CLASSES)
    while len(rows) < most:
        # As cards are dealt: every shuffled deck holds each wave once.
        deck = random.permutation(waves)
        for start in range(0, waves - count + 1, count):
            rows[tuple(sorted(int(card) for card in deck[start : start + count]))] = None
    return np.array(list(rows)[:most], np.int32)


def _equal_strength(patterns: np.ndarray) -> np.ndarray:
    """Scales each pattern to a root mean square of `_RMS`, rounded to integers."""
    strength = np.sqrt(np.mean(patterns**2, axis=(1, 2, 3), keepdims=True))
    return np.round(patterns / strength * _RMS).astype(np.int32)


def _frequencies(period: int, cycles: tuple[int, int]) -> list[tuple[int, int]]:
    """Cycles down and across in a period."""
    least, most = cycles[0], min(cycles[1], period // 2)
    numbers = range(most + 1)
    return [(down, across) for down in numbers for across in numbers if max(down, across) >= least]
