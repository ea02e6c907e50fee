"""The conditioner of shortcut stages: faint waves, the same in all images of a class.

A network takes the easiest way to tell its training images apart. Waves that come with a class are
easier than objects, so a pirate's network learns the waves; clean images have none, and there it is
lost. Such shortcuts are why availability attacks work (Yu et al. 2021, "Availability Attacks Create
Shortcuts", arXiv 2111.00898); periodic ones suit convolutions, which have the same filters
everywhere (Sandoval-Segura et al. 2022, "Autoregressive Perturbations for Data Poisoning", arXiv
2206.03693). Unlike those, ours run backwards, as couplings do.

Each class has a few waves of its own, each with two frequencies and a colour. The pattern repeats
after some pixels and starts in the corner of the image, or of its tile.
"""

import functools
import math

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

# In which waves go up and down. Pictures have much of the first and little of the others.
COLOURS = {"grey": (1, 1, 1), "red_green": (1, -1, 0), "blue_yellow": (-1, -1, 2)}
# In samples: a wave that alternates from one to the next must not be seen at its zeros.
_OFFSET = 0.25
_DIRECTION_PARTS = 16
# Root mean square of one wave, in pixel units. Of the sum only the form counts.
_RMS = 16
# Further classes begin anew.
MOST_CLASSES = 1024


@flax.struct.dataclass
class Shortcut:
    """A conditioner of couplings (`gradient_coupling.Conditioner`) that only sees the label.

    Attributes:
      period: side of the square that repeats, in pixels.
      cycles: of a wave within a period, along the axis where it has more: least and most, at most
        half of the period.
      colours: keys of `COLOURS` that waves may have.
      waves: of each class.
      seed: draws which class has which.
    """

    period: int = flax.struct.field(pytree_node=False, default=16)
    cycles: tuple[int, int] = flax.struct.field(pytree_node=False, default=(4, 8))
    colours: tuple[str, ...] = flax.struct.field(
        pytree_node=False, default=("red_green", "blue_yellow")
    )
    waves: int = flax.struct.field(pytree_node=False, default=1)
    seed: int = flax.struct.field(pytree_node=False, default=0)

    portable = True

    def __call__(self, images: jax.Array, labels: jax.Array) -> jax.Array:
        """The waves of each image's class.

        Args:
          images: [B, H, W, 3], of which only the shape counts.
          labels: int32 [B].

        Returns:
          float32 [B, H, W, 3] in pixel units, whole sixteenths within -255..255.
        """
        waves = _waves(self.period, self.cycles, self.colours)
        drawn = jnp.asarray(draw(len(waves), self.waves, self.seed))
        own = jnp.asarray(waves)[drawn[labels % len(drawn)]]
        square = jnp.sum(own, axis=1)
        height, width = images.shape[1:3]
        down, across = (-(-length // self.period) for length in (height, width))
        pattern = jnp.tile(square, (1, down, across, 1))[:, :height, :width]
        return pattern.astype(jnp.float32) / _DIRECTION_PARTS


def count(period: int, cycles: tuple[int, int], colours: tuple[str, ...]) -> int:
    """How many waves there are."""
    return len(colours) * len(_frequencies(period, cycles))


@functools.cache
def draw(waves: int, own: int, seed: int) -> np.ndarray:
    """Which waves the classes have: no two the same, and each wave about equally often.

    Args:
      waves: how many there are.
      own: how many each class has, at most all.
      seed: of the draw.

    Returns:
      int32 [classes, own], ascending in each row; as many classes as can differ, but at most
      `MOST_CLASSES`.
    """
    random = np.random.RandomState(seed)
    found: dict[tuple[int, ...], None] = {}
    most = min(math.comb(waves, own), MOST_CLASSES)
    while len(found) < most:
        # Dealt like cards: in each deal every wave comes once.
        cards = random.permutation(waves)
        for start in range(0, waves - own + 1, own):
            found[tuple(sorted(int(card) for card in cards[start : start + own]))] = None
    return np.array(list(found)[:most], np.int32)


@functools.cache
def _waves(period: int, cycles: tuple[int, int], colours: tuple[str, ...]) -> np.ndarray:
    """All waves, of equal strength, in sixteenths: int32 [n, period, period, 3]."""
    turns = (np.arange(period) + _OFFSET) / period
    made = []
    for down, across in _frequencies(period, cycles):
        wave = np.outer(np.cos(2 * np.pi * down * turns), np.cos(2 * np.pi * across * turns))
        made += [wave[..., None] * np.array(COLOURS[colour]) for colour in colours]
    waves = np.stack(made)
    strength = np.sqrt(np.mean(waves**2, axis=(1, 2, 3), keepdims=True))
    return np.round(waves / strength * (_RMS * _DIRECTION_PARTS)).astype(np.int32)


def _frequencies(period: int, cycles: tuple[int, int]) -> list[tuple[int, int]]:
    """Cycles down and across in a period."""
    numbers = range(min(cycles[1], period // 2) + 1)
    return [
        (down, across) for down in numbers for across in numbers if max(down, across) >= cycles[0]
    ]
