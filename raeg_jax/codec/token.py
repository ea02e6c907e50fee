"""The secret token: planes of +1 and -1 that only the key's owner can draw.

SHAKE-256 draws them from key and nonce: they are the same for ever, with every version of JAX and
NumPy.
"""

import hashlib
from typing import NamedTuple

import numpy as np

# Single cells are seen down to two levels of a U-shaped network, each of half the resolution.
CELL = 4


class Token(NamedTuple):
    """An image's token, of which each tile has its own part.

    Attributes:
      key: `Key.token_key`, 32 bytes.
      nonce: the image's, 12 bytes.
      count: number of planes.
    """

    key: bytes
    nonce: bytes
    count: int

    def planes(self, height: int, width: int, tile: int) -> np.ndarray:
        """The planes of a tile, see the function of that name."""
        return planes(self.key, self.nonce, height, width, self.count, tile=tile)


def planes(
    token_key: bytes,
    nonce: bytes,
    height: int,
    width: int,
    count: int,
    *,
    tile: int = 0,
    cell: int = CELL,
) -> np.ndarray:
    """Draws an image's token.

    A plane is constant on squares of `cell` x `cell` pixels. White noise on single pixels (cell 1)
    would vanish below the first level of a U-shaped network, where it is averaged; a cell of 2^n
    pixels is seen unchanged down to level n. Larger cells are also fewer, and so easier to guess:
    a plane of 64 x 64 pixels has 256 cells of 4 pixels and 16 of 16.

    Tiles, sizes, counts and cells are all part of the seed: tokens that differ in one of them have
    nothing in common.

    Args:
      token_key: `Key.token_key`, 32 bytes.
      nonce: the image's, 12 bytes.
      height: of the image or tile, in pixels.
      width: of the image or tile, in pixels.
      count: number of planes.
      tile: index of the tile in its image.
      cell: side of the constant squares, in pixels; the last ones are cut off where it doesn't
        divide the size.

    Returns:
      int8 [height, width, count], each value +1 or -1 with equal probability.
    """
    rows, columns = -(-height // cell), -(-width // cell)
    bits = rows * columns * count
    # Numbers before fixed-length bytes: no two requests have the same seed.
    seed = b"raeg token %d %d %d %d %d " % (height, width, count, tile, cell) + token_key + nonce
    drawn = np.frombuffer(hashlib.shake_256(seed).digest(-(-bits // 8)), np.uint8)
    signs = 1 - 2 * np.unpackbits(drawn, count=bits, bitorder="little").astype(np.int8)
    grid = signs.reshape(rows, columns, count)
    return grid.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]
