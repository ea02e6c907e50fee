"""A generator run over whole images, tile by tile, forwards and backwards.

Both ways only one batch of tiles is ever held in floating point.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.codec import codes, tiles
from raeg_jax.codec.token import Token
from raeg_jax.invertible.chain import Chain


def forward(
    chain: Chain,
    images: Sequence[np.ndarray],
    labels: np.ndarray,
    tokens: Sequence[Token],
    side: int,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Protects images of one size.

    Args:
      chain: the generator, an exact one.
      images: n of uint8 [H, W, 3].
      labels: int32 [n], told to all tiles of an image.
      tokens: of each image.
      side: of the tiles, as for `tiles.layout`.
      batch_size: tiles at a time.

    Returns:
      The values, int32 [n, H, W, 3], some perhaps outside 0..255; and the stages' codes, int64
      [n, tiles, columns].
    """
    layout = tiles.layout(*images[0].shape[:2], side)
    values = np.empty((len(images), *images[0].shape), np.int32)
    tables = np.empty((len(images), len(layout), len(codes.columns(chain))), np.int64)
    for places in tiles.batches(layout, len(images), batch_size):
        batch = tiles.take(images, layout, places, batch_size)
        told = tiles.fill(labels[[image for image, _ in places]], batch_size)
        token = _token(tokens, layout, places, batch_size)
        found, code = _forward(chain, batch, told, token)
        found, table = np.asarray(found), codes.to_table(chain, code, batch_size)
        for row, (image, tile) in enumerate(places):
            values[image][layout[tile]] = found[row]
            tables[image, tile] = table[row]
    return values, tables


def inverse(
    chain: Chain,
    values: Sequence[np.ndarray],
    tables: np.ndarray,
    tokens: Sequence[Token],
    side: int,
    batch_size: int,
) -> np.ndarray:
    """Undoes `forward`.

    Args:
      chain: the generator.
      values: n of integers [H, W, 3].
      tables: int64 [n, tiles, columns].
      tokens: of each image.
      side: of the tiles.
      batch_size: tiles at a time; where stages compute in floating point, that of `forward`.

    Returns:
      uint8 [n, H, W, 3].
    """
    layout = tiles.layout(*values[0].shape[:2], side)
    images = np.empty((len(values), *values[0].shape), np.uint8)
    for places in tiles.batches(layout, len(values), batch_size):
        batch = tiles.take(values, layout, places, batch_size)
        table = tiles.fill(np.stack([tables[place] for place in places]), batch_size)
        token = _token(tokens, layout, places, batch_size)
        found = np.asarray(_inverse(chain, batch, codes.from_table(chain, table), token))
        for row, (image, tile) in enumerate(places):
            images[image][layout[tile]] = found[row]
    return images


def _token(tokens, layout, places, batch_size):
    """Of a batch of tiles: int8 [batch_size, h, w, P], or None without planes."""
    if not tokens[0].count:
        return None
    rows, columns = layout[places[0][1]]
    size = rows.stop - rows.start, columns.stop - columns.start
    parts = [tokens[image].planes(*size, tile) for image, tile in places]
    return tiles.fill(np.stack(parts), batch_size)


@jax.jit
def _forward(chain, images, labels, token):
    values, code = chain.forward(images.astype(jnp.float32), labels, token)
    return values.astype(jnp.int32), code


@jax.jit
def _inverse(chain, values, code, token):
    images = chain.inverse(values.astype(jnp.float32), code, token)
    # Only an image that isn't the protected one gives others.
    return jnp.clip(images, 0, 255).astype(jnp.uint8)
