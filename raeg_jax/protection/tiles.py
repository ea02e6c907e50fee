"""Tiles: squares of a large image that are protected one by one, so that little memory is needed.

All tiles of an image have one shape, as programs are compiled for a shape. The last ones of a row
or column are moved inwards until they lie within the image; there they overlap their neighbours,
and pixels that belong to a neighbour stay as it made them. So tiles have an order: those that are
not moved come first, and a tile that overlaps others comes after them.
"""

import collections
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from raeg_jax.generator.build import sees_photographs

# The number of an image, and of a tile in it.
TileIndex = tuple[int, int]

# The order in which tiles are protected, see `Tile.phase`.
PHASES = range(4)
# Most pixels of images that are protected at a time, unless it is a single image.
_GROUP_PIXELS = 2**21
# Side of tiles for stages that aren't trained.
_LARGE = 256


class Tile(NamedTuple):
    """A part of an image, of which the first rows and columns may belong to other tiles.

    Attributes:
      rows: of the image.
      columns: of the image.
      top: so many of its rows belong to another tile.
      left: so many of its columns do.
    """

    rows: slice
    columns: slice
    top: int = 0
    left: int = 0

    @property
    def phase(self) -> int:
        """One of `PHASES`: tiles of one phase don't overlap, only those of earlier phases."""
        return (self.left > 0) + 2 * (self.top > 0)


def payload_side(height: int, width: int, side: int) -> int:
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
    is memory for. Stages that see photographs have no tiles: without others the side is 0.

    Args:
      config: of the generator, whole.
    """
    without = {"gradient"} if sees_photographs(config.generator.gradient) else set()
    stages = [name for name in config.generator.stages if name not in without]
    if not stages:
        return 0
    return config.data.image_size if stages == ["learned"] else _LARGE


def tile_shape(height: int, width: int, side: int) -> tuple[int, int]:
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
      side: as for `tile_shape`.
    """
    tall, wide = tile_shape(height, width, side)
    return [
        Tile(rows, columns, top, left)
        for rows, top in _spans(height, tall)
        for columns, left in _spans(width, wide)
    ]


def _spans(length: int, size: int) -> Iterator[tuple[slice, int]]:
    """Yields where the tiles lie along an axis, and how much of each belongs to the one before."""
    for start in range(0, length, size):
        moved = max(0, start + size - length)
        yield slice(start - moved, start - moved + size), moved


def group_images(kinds: Sequence[tuple], pixels: Sequence[int]) -> list[list[int]]:
    """Splits images into groups to be protected at a time, whatever their number.

    Args:
      kinds: of each image; only images of one kind can share batches.
      pixels: of each image.

    Returns:
      Numbers of images; each group has a bounded number of pixels, or a single image.
    """
    growing: dict[tuple, list[int]] = {}
    sizes: collections.Counter = collections.Counter()
    full = []
    for index, (kind, size) in enumerate(zip(kinds, pixels, strict=True)):
        if kind in growing and sizes[kind] + size > _GROUP_PIXELS:
            full.append(growing.pop(kind))
            sizes[kind] = 0
        growing.setdefault(kind, []).append(index)
        sizes[kind] += size
    return [*full, *growing.values()]


def batch_indices(
    layouts: Sequence[Sequence[Tile]], phase: int, batch_size: int
) -> Iterator[list[TileIndex]]:
    """Yields the indices of all tiles of a phase, in batches.

    Args:
      layouts: the tiles of each image, all of one shape.
      phase: one of `PHASES`.
      batch_size: most tiles in a batch; the last one may have fewer.
    """
    indices = [
        (image, number)
        for image, tiles in enumerate(layouts)
        for number, tile in enumerate(tiles)
        if tile.phase == phase
    ]
    for start in range(0, len(indices), batch_size):
        yield indices[start : start + batch_size]


def take_batch(
    images: Sequence[np.ndarray],
    layouts: Sequence[Sequence[Tile]],
    indices: Sequence[TileIndex],
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Copies a batch, the last tile repeated where indices are fewer.

    Args:
      images: each [H, W, C].
      layouts: the tiles of each image.
      indices: the tiles to copy.
      batch_size: of the result.

    Returns:
      The tiles [batch_size, h, w, C], and bool [batch_size, h, w, 1], which pixels are editable:
      those that belong to no other tile.
    """
    chosen = [(images[image], layouts[image][number]) for image, number in indices]
    batch = np.stack([image[tile.rows, tile.columns] for image, tile in chosen])
    editable = np.zeros((*batch.shape[:3], 1), bool)
    for mask, (_, tile) in zip(editable, chosen, strict=True):
        mask[tile.top :, tile.left :] = True
    return pad_batch(batch, batch_size), pad_batch(editable, batch_size)


def boxes(
    images: Sequence[np.ndarray],
    layouts: Sequence[Sequence[Tile]],
    indices: Sequence[TileIndex],
    batch_size: int,
) -> np.ndarray:
    """Where the tiles of a batch lie in their images.

    Args:
      images: each [H, W, C].
      layouts: the tiles of each image.
      indices: the tiles.
      batch_size: as for `take_batch`.

    Returns:
      int32 [batch_size, 4]: first row and column of the tile, height and width of the image.
    """
    rows = [
        (tile.rows.start, tile.columns.start, *images[image].shape[:2])
        for image, tile in ((image, layouts[image][number]) for image, number in indices)
    ]
    return pad_batch(np.array(rows, np.int32), batch_size)


def pad_batch(rows: np.ndarray, batch_size: int) -> np.ndarray:
    """Repeats the last row of [n, ...] until there are `batch_size`, as programs have one size."""
    return rows[np.minimum(np.arange(batch_size), len(rows) - 1)]
