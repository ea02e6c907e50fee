"""Tiles: squares of a large image that are protected one by one, so that little memory is needed.

A batch holds tiles of one shape, of one or several images, as programs are compiled for a shape.
"""

from collections.abc import Iterator, Sequence

import numpy as np

# An image's rows and columns: `image[tile]` is a view.
Tile = tuple[slice, slice]
# The number of an image, and of a tile in it.
Place = tuple[int, int]

# Batches' worth of pixels that are worked on at a time: few of them end with a batch that isn't
# full, and all are small beside a large photograph.
_BATCHES = 4


def side_for(height: int, width: int, side: int) -> int:
    """The side of an image's tiles as payloads have it: 0 where one tile is enough.

    Args:
      height: of the image, in pixels.
      width: of the image, in pixels.
      side: largest height and width of a tile.
    """
    return side if max(height, width) > side else 0


def layout(height: int, width: int, side: int) -> list[Tile]:
    """Cuts an image into squares, in rows from the top, from left to right.

    Args:
      height: of the image, in pixels.
      width: of the image, in pixels.
      side: of the squares, in pixels; those at the lower and right edges are cut off there. With 0
        the image is one tile of any shape.
    """
    tall, wide = (side, side) if side else (height, width)
    return [
        (slice(top, min(top + tall, height)), slice(left, min(left + wide, width)))
        for top in range(0, height, tall)
        for left in range(0, width, wide)
    ]


def lots(count: int, height: int, width: int, side: int, batch_size: int) -> list[slice]:
    """Splits images of one size into lots to be worked on at a time, whatever their number.

    Args:
      count: number of images.
      height: of each, in pixels.
      width: of each, in pixels.
      side: of their tiles, as for `layout`.
      batch_size: tiles in a batch.
    """
    step = batch_size
    if side:
        step = max(1, _BATCHES * batch_size * side**2 // (height * width))
    return [slice(start, start + step) for start in range(0, count, step)]


def batches(tiles: Sequence[Tile], count: int, batch_size: int) -> Iterator[list[Place]]:
    """Goes over all tiles of some images in batches of one shape each.

    Args:
      tiles: of each image.
      count: number of images.
      batch_size: most places in a batch; the last one of a shape may have fewer.
    """
    by_shape: dict[tuple[int, int], list[Place]] = {}
    for image in range(count):
        for number, (rows, columns) in enumerate(tiles):
            shape = rows.stop - rows.start, columns.stop - columns.start
            by_shape.setdefault(shape, []).append((image, number))
    for places in by_shape.values():
        for start in range(0, len(places), batch_size):
            yield places[start : start + batch_size]


def take(
    images: Sequence[np.ndarray], tiles: Sequence[Tile], places: list[Place], batch_size: int
) -> np.ndarray:
    """Copies a batch: [batch_size, h, w, C], the last tile repeated where places are fewer.

    Args:
      images: each [H, W, C].
      tiles: of each image.
      places: the tiles to copy, all of one shape.
      batch_size: of the result.
    """
    return fill(np.stack([images[image][tiles[tile]] for image, tile in places]), batch_size)


def fill(rows: np.ndarray, batch_size: int) -> np.ndarray:
    """Repeats the last row of [n, ...] until there are `batch_size`, as programs have one size."""
    return rows[np.minimum(np.arange(batch_size), len(rows) - 1)]
