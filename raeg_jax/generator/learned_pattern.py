"""The conditioner of shortcut stages with learned patterns, which belong to the whole photograph.

Patterns that a network was trained together with survive what pirates do to images (after Huang et
al. 2021, "Unlearnable Examples", arXiv 2101.04898, one noise a class); `train.py` makes them. They
live on a grid that is laid over the photograph, whatever its size: so a photograph that is scaled
down still shows its pattern. A tile gets its part of that.

The grid is resized as Pillow's bilinear filter does it: the weights of a sample are the heights of
a triangle over the cells, as wide as two cells, or as two samples where these are larger. All in
integers, the same on every machine, so that tiles fit together without a seam.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from raeg_jax.errors import UserError
from raeg_jax.exact.integers import divide
from raeg_jax.exact.resample import whole_shares
from raeg_jax.generator.shortcut import MOST_CLASSES

# Bounds of what a generator file may hold.
MOST_VARIANTS = 64
LEAST_GRID, MOST_GRID = 2, 128
# Fractions of 1 in a weight: sums of 256 x 256 x 128 are exact in float32.
_WEIGHT_PARTS = 256
_DIRECTION_PARTS = 16
# Heights of triangles keep so many bits, or the sums of `divide` would not fit.
_HEIGHT_BITS = 14
_EXACT = jax.lax.Precision.HIGHEST


@flax.struct.dataclass
class Place:
    """Where images lie in their photographs, and what their photographs drew.

    Attributes:
      box: int32 [B, 4], first row and column of the image in the photograph; height and width of
        the photograph; in pixels.
      draw: int32 [B], at least 0, `payload.key.Token.draw`: chooses among the patterns of a class.
    """

    box: ArrayLike
    draw: ArrayLike


@flax.struct.dataclass
class LearnedPattern:
    """A conditioner of couplings that depends on the label and the place (`Place`) alone.

    Attributes:
      patterns: int8 [K, V, G, G, 3], V patterns for each of K classes; classes beyond these share
        them with the first ones.
    """

    patterns: ArrayLike

    portable = True
    placed = True

    def __call__(
        self, images: jax.Array, labels: jax.Array, place: Place | None = None
    ) -> jax.Array:
        """Each image's part of the pattern of its photograph.

        The weights of sample i of n over the G cells k: with t = max(n, G), heights are
        max(0, 2 t - |(2 i + 1) G - (2 k + 1) n|), divided by max(1, floor(t / 2^13)) and rounded
        down; the shares that all heights up to k have in their sum, rounded to 256ths; the
        differences of these. The sum over cells of row weight, column weight and value is rounded
        to sixteenths.

        Args:
          images: [B, h, w, 3], of which only the shape is used.
          labels: int32 [B].
          place: None where images are photographs, and have the first pattern. Sides of
            photographs have at most 2^22 pixels; longer ones would have another pattern.

        Returns:
          float32 [B, h, w, 3] in pixel units, multiples of 1/16 within -128..127.
        """
        count, height, width = images.shape[:3]
        if place is None:
            place = whole(count, height, width)
        patterns, box = jnp.asarray(self.patterns), jnp.asarray(place.box)
        classes, variants, grid = patterns.shape[:3]
        chosen = patterns[labels % classes, jnp.asarray(place.draw) % variants]
        rows = _weights(box[:, 0], height, box[:, 2], grid)
        columns = _weights(box[:, 1], width, box[:, 3], grid)
        tall = jnp.einsum("bik,bklc->bilc", rows, chosen.astype(jnp.float32), precision=_EXACT)
        sums = jnp.einsum("bjl,bilc->bijc", columns, tall, precision=_EXACT).astype(jnp.int32)
        return divide(_DIRECTION_PARTS * sums, _WEIGHT_PARTS**2) / jnp.float32(_DIRECTION_PARTS)

    @property
    def count(self) -> int:
        """The number of classes that have patterns of their own."""
        return np.shape(self.patterns)[0]


def whole(count: int, height: int, width: int, draw: ArrayLike = 0) -> Place:
    """The place of images that are whole photographs.

    Args:
      count: of images.
      height: of each, in pixels.
      width: of each, in pixels.
      draw: int32 [count], or one for all.
    """
    box = np.broadcast_to(np.array([0, 0, height, width], np.int32), (count, 4))
    return Place(box, jnp.broadcast_to(jnp.asarray(draw, jnp.int32), (count,)))


def check_patterns(patterns: np.ndarray | None) -> None:
    """Makes sure that an array can be the patterns of a generator.

    Raises:
      UserError: none, or another type or shape, which it names.
    """
    if patterns is None:
        raise UserError(
            "config.generator.shortcut.pattern='learned' needs patterns, and there are none: "
            "train.py learns them, or use 'waves' or 'cells'"
        )
    shape = patterns.shape
    if patterns.dtype != np.int8 or len(shape) != 5 or shape[2] != shape[3] or shape[4] != 3:
        raise UserError(
            f"patterns are {patterns.dtype} {list(shape)}, not int8 [classes, variants, side, "
            "side, 3]: give those that train.py made"
        )
    limits = (1, MOST_CLASSES), (1, MOST_VARIANTS), (LEAST_GRID, MOST_GRID)
    names = "classes", "variants of a class", "cells along a side"
    for name, number, (least, most) in zip(names, shape, limits, strict=False):
        if not least <= number <= most:
            raise UserError(
                f"patterns {list(shape)} have {number} {name}, not {least} to {most}: give those "
                "that train.py made"
            )


def _weights(first: jax.Array, count: int, length: jax.Array, grid: int) -> jax.Array:
    """The weights of the cells in some samples of an axis.

    Args:
      first: int32 [B], of the samples.
      count: of samples.
      length: int32 [B], samples of the whole axis.
      grid: number of cells.

    Returns:
      float32 [B, count, grid], whole numbers from 0 to 256, each row with the sum 256.
    """
    samples = first[:, None, None] + jnp.arange(count)[:, None]
    length, cells = length[:, None, None], jnp.arange(grid)
    longest = jnp.maximum(length, grid)
    # In 1 / (2 length) of a cell.
    distance = jnp.abs((2 * samples + 1) * grid - (2 * cells + 1) * length)
    height = jnp.maximum(2 * longest - distance, 0)
    height //= jnp.maximum(longest >> (_HEIGHT_BITS - 1), 1)
    return whole_shares(height, _WEIGHT_PARTS)
