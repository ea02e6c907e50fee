"""Tiles: squares of a large image that are protected one by one, so that little memory is needed.

All tiles of an image have one shape, as programs are compiled for a shape. The last ones of a row
or column are moved inwards until they lie within the image; there they overlap their neighbours,
and pixels that belong to a neighbour stay as it made them. So tiles have an order: those that are
not moved come first, and what overlaps comes after what it overlaps.
"""

import collections
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

# The number of an image, and of a tile in it.
Place = tuple[int, int]

# Steps in which tiles are worked on, see `Tile.turn`.
TURNS = range(4)
# So many pixels are worked on at a time, or a single image.
_LOT = 2**21
# Side of tiles for stages that aren't trained.
_LARGE = 256


class Tile(NamedTuple):
    """A part of an image, of which the first rows and columns may belong to other tiles.

    Attributes:
      rows: of the image.
      columns: of the image.
      top: so many of its rows are another tile's.
      left: so many of its columns are.
    """

    rows: slice
    columns: slice
    top: int = 0
    left: int = 0

    @property
    def turn(self) -> int:
        """When its time is: no two tiles of one turn overlap, and it overlaps earlier ones only."""
        return (self.left > 0) + 2 * (self.top > 0)


def side_for(height: int, width: int, side: int) -> int:
    """The side of an image's tiles as payloads have it: 0 where one tile is enough.

    Args:
      height: of the image, in pixels.
      width: of the image, in pixels.
      side: largest height and width of a tile.
    """
    return side if max(height, width) > side else 0


def default_side(config: ConfigDict) -> int:
    """The side of tiles where nobody names one, in pixels.

    Learned stages see as much as in training. Classifiers should see as much of an object as there
    is room for.

    Args:
      config: of the generator, whole.
    """
    return config.data.image_size if tuple(config.generator.stages) == ("learned",) else _LARGE


def shape(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width of all tiles of an image.

    Args:
      height: of the image, in pixels.
      width: of the image, in pixels.
      side: of the tiles, in pixels; less where the image has less. With 0 the image is one tile.
    """
    return (min(height, side), min(width, side)) if side else (height, width)


def layout(height: int, width: int, side: int) -> list[Tile]:
    """Cuts an image into tiles, in rows from the top, from left to right.

    Args:
      height: of the image, in pixels.
      width: of the image, in pixels.
      side: as for `shape`.
    """
    tall, wide = shape(height, width, side)
    return [
        Tile(rows, columns, top, left)
        for rows, top in _spans(height, tall)
        for columns, left in _spans(width, wide)
    ]


def _spans(length, size):
    """Where the tiles lie along an axis, and how much of each is the one's before."""
    for start in range(0, length, size):
        moved = max(0, start + size - length)
        yield slice(start - moved, start - moved + size), moved


def lots(kinds: Sequence[tuple], pixels: Sequence[int]) -> list[list[int]]:
    """Splits images into lots to be worked on at a time, whatever their number.

    Args:
      kinds: of each image; only images of one kind can share batches.
      pixels: of each image.

    Returns:
      Numbers of images; each lot has a bounded number of pixels, or a single image.
    """
    open_lots: dict[tuple, list[int]] = {}
    sizes: collections.Counter = collections.Counter()
    full = []
    for index, (kind, own) in enumerate(zip(kinds, pixels, strict=True)):
        if kind in open_lots and sizes[kind] + own > _LOT:
            full.append(open_lots.pop(kind))
            sizes[kind] = 0
        open_lots.setdefault(kind, []).append(index)
        sizes[kind] += own
    return [*full, *open_lots.values()]


def batches(layouts: Sequence[Sequence[Tile]], turn: int, batch_size: int) -> Iterator[list[Place]]:
    """Goes over those tiles of some images whose turn it is, in batches.

    Args:
      layouts: the tiles of each image, all of one shape.
      turn: which.
      batch_size: most places in a batch; the last one may have fewer.
    """
    places = [
        (image, number)
        for image, layout in enumerate(layouts)
        for number, tile in enumerate(layout)
        if tile.turn == turn
    ]
    for start in range(0, len(places), batch_size):
        yield places[start : start + batch_size]


def take(
    images: Sequence[np.ndarray],
    layouts: Sequence[Sequence[Tile]],
    places: list[Place],
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Copies a batch, the last tile repeated where places are fewer.

    Args:
      images: each [H, W, C].
      layouts: the tiles of each image.
      places: the tiles to copy.
      batch_size: of the result.

    Returns:
      The tiles [batch_size, h, w, C], and bool [batch_size, h, w, 1], which pixels are their own.
    """
    chosen = [(images[image], layouts[image][number]) for image, number in places]
    batch = np.stack([image[tile.rows, tile.columns] for image, tile in chosen])
    free = np.zeros((*batch.shape[:3], 1), bool)
    for own, (_, tile) in zip(free, chosen, strict=True):
        own[tile.top :, tile.left :] = True
    return fill(batch, batch_size), fill(free, batch_size)


def fill(rows: np.ndarray, batch_size: int) -> np.ndarray:
    """Repeats the last row of [n, ...] until there are `batch_size`, as programs have one size."""
    return rows[np.minimum(np.arange(batch_size), len(rows) - 1)]
