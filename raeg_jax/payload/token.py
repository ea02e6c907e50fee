"""The secret token: planes of +1 and -1 that only the key's owner can draw.

SHAKE-256 draws them from key and nonce, so they are the same for ever, with every version of JAX
and NumPy.
"""

import dataclasses
import hashlib

import numpy as np

# Side in pixels of the squares on which a plane is constant. White noise on single pixels would
# vanish below the first level of a U-shaped network, where it is averaged; a square of 2^n pixels
# is seen unchanged down to level n. Larger squares are also fewer, and so easier to guess: a plane
# of 64 x 64 pixels has 256 squares of 4 pixels and 16 of 16.
CELL = 4


@dataclasses.dataclass(frozen=True)
class Token:
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
        """The planes of a tile, see `draw_planes`."""
        return draw_planes(self.key, self.nonce, height, width, self.count, tile=tile)


def draw_planes(
    token_key: bytes, nonce: bytes, height: int, width: int, count: int, *, tile: int = 0
) -> np.ndarray:
    """Draws the token planes of an image or of one of its tiles.

    Tiles, sizes and counts are part of the seed: tokens that differ in one of them have nothing in
    common.

    Args:
      token_key: `Key.token_key`, 32 bytes.
      nonce: the image's, 12 bytes.
      height: of the image or tile, in pixels.
      width: of the image or tile, in pixels.
      count: number of planes.
      tile: index of the tile in its image.

    Returns:
      int8 [height, width, count], each value +1 or -1 with equal probability, constant on squares
      of `CELL` pixels; the last squares are cut off where `CELL` doesn't divide the size.
    """
    rows, columns = -(-height // CELL), -(-width // CELL)
    bits = rows * columns * count
    # Numbers before fixed-length bytes: no two requests have the same seed.
    seed = b"raeg token %d %d %d %d %d " % (height, width, count, tile, CELL) + token_key + nonce
    drawn = np.frombuffer(hashlib.shake_256(seed).digest(-(-bits // 8)), np.uint8)
    signs = 1 - 2 * np.unpackbits(drawn, count=bits, bitorder="little").astype(np.int8)
    grid = signs.reshape(rows, columns, count)
    return grid.repeat(CELL, axis=0).repeat(CELL, axis=1)[:height, :width]
