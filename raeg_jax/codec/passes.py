"""A generator run over whole images, tile by tile, forwards and backwards.

Both ways only one batch of tiles is ever held in floating point.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from raeg_jax.codec import tiles
from raeg_jax.codec.programs import Programs
from raeg_jax.invertible.chain import Chain
from raeg_jax.payload import side_info
from raeg_jax.payload.token import Token


def forward(
    chain: Chain,
    images: Sequence[np.ndarray],
    labels: np.ndarray,
    tokens: Sequence[Token],
    sides: Sequence[int],
    batch_size: int,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Protects images whose tiles have one shape.

    Args:
      chain: the generator, an exact one.
      images: n of uint8 [H, W, 3].
      labels: int32 [n], told to all tiles of an image.
      tokens: of each image.
      sides: of each image's tiles, as for `tiles.layout`.
      batch_size: most tiles at a time.

    Returns:
      The values, n of int32 [H, W, 3], some perhaps outside 0..255; and the stages' codes, n of
      int64 [tiles, columns].
    """
    layouts = _layouts(images, sides)
    values = [image.astype(np.int32) for image in images]
    columns = len(side_info.columns(chain))
    tables = [np.empty((len(layout), columns), np.int64) for layout in layouts]
    for turn in tiles.TURNS:
        for places in tiles.batches(layouts, turn, batch_size):
            size = _FORWARD.batch_size(chain, *_shape(layouts), len(places), batch_size)
            batch, free = tiles.take(values, layouts, places, size)
            told = tiles.fill(labels[[image for image, _ in places]], size)
            token = _token(tokens, places, batch)
            found, code = _FORWARD(chain, batch, told, token, free)
            _put(values, layouts, places, np.asarray(found))
            table = side_info.to_table(chain, code, size)
            for (image, tile), row in zip(places, table, strict=False):
                tables[image][tile] = row
    return values, tables


def inverse(
    chain: Chain,
    values: Sequence[np.ndarray],
    tables: Sequence[np.ndarray],
    tokens: Sequence[Token],
    sides: Sequence[int],
    batch_size: int,
) -> list[np.ndarray]:
    """Undoes `forward`.

    Args:
      chain: the generator.
      values: n of integers [H, W, 3].
      tables: n of int64 [tiles, columns].
      tokens: of each image.
      sides: of each image's tiles.
      batch_size: most tiles at a time; where stages compute in floating point, that of `forward`.

    Returns:
      n of uint8 [H, W, 3].
    """
    layouts = _layouts(values, sides)
    images = [own.astype(np.int32) for own in values]
    for turn in reversed(tiles.TURNS):
        for places in tiles.batches(layouts, turn, batch_size):
            size = _INVERSE.batch_size(chain, *_shape(layouts), len(places), batch_size)
            batch, free = tiles.take(images, layouts, places, size)
            table = tiles.fill(np.stack([tables[image][tile] for image, tile in places]), size)
            token = _token(tokens, places, batch)
            found = _INVERSE(chain, batch, side_info.from_table(chain, table), token, free)
            _put(images, layouts, places, np.asarray(found))
    # Only an image that isn't the protected one gives values outside.
    return [np.clip(image, 0, 255).astype(np.uint8) for image in images]


def _layouts(images, sides):
    sizes = (image.shape[:2] for image in images)
    return [tiles.layout(*size, side) for size, side in zip(sizes, sides, strict=True)]


def _shape(layouts):
    """Height and width that all tiles have."""
    tile = layouts[0][0]
    return tile.rows.stop - tile.rows.start, tile.columns.stop - tile.columns.start


def _put(images, layouts, places, batch):
    # The batch repeats its last tile where places are fewer.
    for (image, number), found in zip(places, batch, strict=False):
        tile = layouts[image][number]
        images[image][tile.rows, tile.columns] = found


def _token(tokens, places, batch):
    """Of a batch of tiles: int8 [B, h, w, P], or None without planes."""
    if not tokens[0].count:
        return None
    parts = [tokens[image].planes(*batch.shape[1:3], tile) for image, tile in places]
    return tiles.fill(np.stack(parts), len(batch))


def _forward(chain, values, labels, token, free):
    values, code = chain.forward(values.astype(jnp.float32), labels, token, free)
    return values.astype(jnp.int32), code


def _inverse(chain, values, code, token, free):
    return chain.inverse(values.astype(jnp.float32), code, token, free).astype(jnp.int32)


_FORWARD, _INVERSE = Programs(_forward), Programs(_inverse)
