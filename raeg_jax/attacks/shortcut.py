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

PATTERNS = ("waves", "cells")
_DIRECTION_PARTS = 16


@flax.struct.dataclass
class Shortcut:
    """A conditioner of couplings (`gradient_coupling.Conditioner`) that only sees the label.

    Attributes:
      pattern: 'waves' or 'cells', see `patterns`.
      period: side of the square that repeats, in pixels; it starts in the corner of the image, or
        of its tile.
      cycles: of waves within a period, least and most.
      waves: of each class.
      cell: side of cells, in pixels.
      colours: keys of `patterns.COLOURS`.
      seed: draws which class has which pattern.
    """

    pattern: str = flax.struct.field(pytree_node=False, default="waves")
    period: int = flax.struct.field(pytree_node=False, default=16)
    cycles: tuple[int, int] = flax.struct.field(pytree_node=False, default=(4, 8))
    waves: int = flax.struct.field(pytree_node=False, default=1)
    cell: int = flax.struct.field(pytree_node=False, default=8)
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
        square = {"waves": self._waves, "cells": self._cells}[self.pattern](labels)
        height, width = images.shape[1:3]
        down, across = (-(-length // self.period) for length in (height, width))
        whole = jnp.tile(square, (1, down, across, 1))[:, :height, :width]
        return whole.astype(jnp.float32) / _DIRECTION_PARTS

    def _waves(self, labels):
        waves, drawn = patterns.waves(self.period, self.cycles, self.colours, self.waves, self.seed)
        return jnp.sum(jnp.asarray(waves)[jnp.asarray(drawn)[labels % len(drawn)]], axis=1)

    def _cells(self, labels):
        steps, signs = patterns.cells(self.period, self.cell, self.colours, self.seed)
        own = jnp.asarray(signs)[labels % len(signs)]
        squares = jnp.sum(own[..., None] * steps, axis=-2)
        return jnp.repeat(jnp.repeat(squares, self.cell, axis=1), self.cell, axis=2)
