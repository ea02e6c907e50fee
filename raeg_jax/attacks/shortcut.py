"""The conditioner of shortcut stages: a faint pattern, the same in all images of a class.

A network takes the easiest way to tell its training images apart. Patterns that come with a class
are easier than objects, so a pirate's network learns the patterns; clean images have none, and
there it is lost. Such shortcuts are why availability attacks work (Yu et al. 2021, "Availability
Attacks Create Shortcuts", arXiv 2111.00898); periodic ones suit convolutions, which have the same
filters everywhere (Sandoval-Segura et al. 2022, "Autoregressive Perturbations for Data Poisoning",
arXiv 2206.03693). Unlike those, ours run backwards, as couplings do.
"""

import flax.struct
import jax
import jax.numpy as jnp

from raeg_jax.attacks import patterns
from raeg_jax.image import integers

PATTERNS = ("waves", "cells")
_DIRECTION_PARTS = 16


@flax.struct.dataclass
class Shortcut:
    """A conditioner of couplings (`gradient_coupling.Conditioner`) that only sees the label.

    Attributes:
      pattern: 'waves' or 'cells', see `patterns`.
      period: of waves, side of the square that repeats, in pixels. The first one starts in the
        corner of the image, or of its tile.
      cycles: of waves within a period, least and most.
      waves: of each class.
      cell: side of cells, in pixels.
      cells: along each side of the square that repeats.
      colours: keys of `patterns.COLOURS`.
      seed: draws which class has which pattern.
    """

    pattern: str = flax.struct.field(pytree_node=False, default="waves")
    period: int = flax.struct.field(pytree_node=False, default=16)
    cycles: tuple[int, int] = flax.struct.field(pytree_node=False, default=(4, 8))
    waves: int = flax.struct.field(pytree_node=False, default=1)
    cell: int = flax.struct.field(pytree_node=False, default=8)
    cells: int = flax.struct.field(pytree_node=False, default=4)
    colours: tuple[str, ...] = flax.struct.field(
        pytree_node=False, default=("red_green", "blue_yellow")
    )
    seed: int = flax.struct.field(pytree_node=False, default=0)

    portable = True

    def __call__(self, images: jax.Array, labels: jax.Array) -> jax.Array:
        """The pattern of each image's class.

        Args:
          images: [B, H, W, 3], of which only the shape counts.
          labels: int32 [B].

        Returns:
          float32 [B, H, W, 3] in pixel units, whole sixteenths within -255..255.
        """
        table, of_class = self._drawn
        own = jnp.asarray(of_class)[labels % len(of_class)]
        square = {"waves": self._waves, "cells": self._cells}[self.pattern](table, own)
        height, width = images.shape[1:3]
        down, across = -(-height // square.shape[1]), -(-width // square.shape[2])
        whole = jnp.tile(square, (1, down, across, 1))[:, :height, :width]
        return whole.astype(jnp.float32) / _DIRECTION_PARTS

    @property
    def count(self) -> int:
        """How many classes can differ."""
        return len(self._drawn[1])

    @property
    def _drawn(self):
        """Waves or colours, and what each class has of them."""
        if self.pattern == "cells":
            return patterns.cells(self.cell, self.cells, self.colours, self.seed)
        return patterns.waves(self.period, self.cycles, self.colours, self.waves, self.seed)

    def _waves(self, waves, own):
        # Their mean: of many, the sum would be more than a coupling takes.
        return integers.divide(jnp.sum(jnp.asarray(waves)[own], axis=1), self.waves)

    def _cells(self, steps, own):
        squares = jnp.sum(own[..., None] * steps, axis=-2)
        return jnp.repeat(jnp.repeat(squares, self.cell, axis=1), self.cell, axis=2)
