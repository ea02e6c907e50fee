"""A generator run over whole images, forwards and backwards, in compiled programs.

Stages run tile by tile: both ways only one batch of tiles is ever held in floating point, and there
is a program for each shape and number of tiles. A last stage that sees photographs runs on whole
images after that.
"""

import collections
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.generator import photograph
from raeg_jax.generator.chain import Chain, LearnedStage
from raeg_jax.generator.class_planes import ClassInfo
from raeg_jax.generator.gradient_coupling import GradientCoupling, SideInfo
from raeg_jax.generator.learned_pattern import Place
from raeg_jax.payload.errors import DamagedPayloadError
from raeg_jax.payload.key import Token
from raeg_jax.payload.overflow import check_range
from raeg_jax.protection import tiles

# Programs of each direction in memory, the last used: each takes some 150 MB and 1,200 memory maps.
_MOST_PROGRAMS = 2
# Most photographs at a time on a CPU, where each core has a descent, which takes some 300 MB.
_PHOTOGRAPHS = min(4, os.cpu_count() or 1)
# Name of the column with the class of an image.
LABEL = "label"


def forward(
    chain: Chain,
    images: Sequence[np.ndarray],
    labels: np.ndarray,
    tokens: Sequence[Token],
    sides: Sequence[int],
    batch_size: int,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Protects images, for stages of tiles those whose tiles have one shape.

    Args:
      chain: the generator, an exact one.
      images: n of uint8 [H, W, 3].
      labels: int32 [n], the class of each image and of all its tiles.
      tokens: of each image.
      sides: of each image's tiles, as for `tiles.layout`.
      batch_size: most tiles at a time.

    Returns:
      The values, n of int32 [H, W, 3], some perhaps outside 0..255; and the side information of the
      stages, n of int64 [tiles, columns].

    Raises:
      DivergedError: the stages of tiles leave values that one of photographs can't take.
    """
    of_tiles, of_photographs = _parted(chain)
    values: list[np.ndarray] = list(images)
    tables = [np.empty((len(layout), 0), np.int64) for layout in _layouts(images, sides)]
    if of_tiles.stages:
        values, tables = _forward_tiles(of_tiles, images, labels, tokens, sides, batch_size)
        for value in values if of_photographs is not None else ():
            check_range(value, photograph.MOST_EXCESS)
    if of_photographs is not None:
        # One after the other: planes of a large photograph take much memory.
        planes = (_planes(token, image) for token, image in zip(tokens, images, strict=True))
        values, infos = photograph.forward(
            of_photographs, values, images, labels, planes, _in_a_descent(batch_size)
        )
        # Each tile has what the photograph has.
        tables = [
            np.column_stack([table, np.broadcast_to(info, (len(table), len(info)))])
            for table, info in zip(tables, infos, strict=True)
        ]
    return values, tables


def _forward_tiles(chain, images, labels, tokens, sides, batch_size):
    layouts = _layouts(images, sides)
    values = [image.astype(np.int32) for image in images]
    columns = len(side_info_columns(chain))
    tables = [np.empty((len(layout), columns), np.int64) for layout in layouts]
    for phase in tiles.PHASES:
        for indices in tiles.batch_indices(layouts, phase, batch_size):
            size = _FORWARD.batch_size(chain, *_shape(layouts), len(indices), batch_size)
            batch, editable = tiles.take_batch(values, layouts, indices, size)
            classes = tiles.pad_batch(labels[[image for image, _ in indices]], size)
            token = _token(tokens, indices, batch)
            place = _place(chain, tokens, values, layouts, indices, size)
            batch, code = _FORWARD(chain, batch, classes, token, editable, place)
            _put(values, layouts, indices, np.asarray(batch))
            table = to_table(chain, code, size)
            for (image, tile), row in zip(indices, table, strict=False):
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
    of_tiles, of_photographs = _parted(chain)
    images = list(values)
    if of_photographs is not None:
        planes = (_planes(token, value) for token, value in zip(tokens, values, strict=True))
        infos = np.stack([table[0, -len(photograph.COLUMNS) :] for table in tables])
        images = photograph.inverse(
            of_photographs, values, infos, planes, _in_a_descent(batch_size)
        )
    if of_tiles.stages:
        images = _inverse_tiles(of_tiles, images, tables, tokens, sides, batch_size)
    # Only an image that isn't the protected one gives values outside.
    return [np.clip(image, 0, 255).astype(np.uint8) for image in images]


def _inverse_tiles(chain, values, tables, tokens, sides, batch_size):
    layouts = _layouts(values, sides)
    images = [value.astype(np.int32) for value in values]
    columns = len(side_info_columns(chain))
    for phase in reversed(tiles.PHASES):
        for indices in tiles.batch_indices(layouts, phase, batch_size):
            size = _INVERSE.batch_size(chain, *_shape(layouts), len(indices), batch_size)
            batch, editable = tiles.take_batch(images, layouts, indices, size)
            rows = np.stack([tables[image][tile, :columns] for image, tile in indices])
            code = from_table(chain, tiles.pad_batch(rows, size))
            token = _token(tokens, indices, batch)
            place = _place(chain, tokens, images, layouts, indices, size)
            batch = _INVERSE(chain, batch, code, token, editable, place)
            _put(images, layouts, indices, np.asarray(batch))
    return images


def _parted(chain: Chain) -> tuple[Chain, GradientCoupling | None]:
    """The stages of tiles, and the last stage where it sees photographs."""
    *others, last = chain.stages
    if photograph.is_of_photographs(last):
        return Chain(tuple(others)), last
    return chain, None


def kind(chain: Chain, height: int, width: int, side: int) -> tuple[int, int]:
    """What images that can share batches have in common: height and width of their tiles.

    Args:
      chain: the stages; without stages of tiles any images share batches.
      height: of the image, in pixels.
      width: of the image, in pixels.
      side: of its tiles, as for `tiles.tile_shape`.
    """
    return tiles.tile_shape(height, width, side) if _parted(chain)[0].stages else (0, 0)


def at_a_time(chain: Chain, batch_size: int) -> int:
    """How many images to take at a time, where many are there.

    Larger batches of photographs only save time on an accelerator.

    Args:
      chain: the stages.
      batch_size: the most.
    """
    of_tiles, _ = _parted(chain)
    alone = not of_tiles.stages and jax.default_backend() == "cpu"
    return min(batch_size, _PHOTOGRAPHS) if alone else batch_size


def _in_a_descent(batch_size: int) -> int:
    return 1 if jax.default_backend() == "cpu" else batch_size


def _planes(token: Token, image: np.ndarray) -> np.ndarray | None:
    """Of a whole image: int8 [H, W, P], or None without planes."""
    height, width = image.shape[:2]
    return token.planes(height, width, 0) if token.count else None


def _layouts(images: Sequence[np.ndarray], sides: Sequence[int]) -> list[list[tiles.Tile]]:
    sizes = ((x.shape[0], x.shape[1], side) for x, side in zip(images, sides, strict=True))
    return [tiles.layout(*size) for size in sizes]


def _shape(layouts: Sequence[Sequence[tiles.Tile]]) -> tuple[int, int]:
    """Height and width that all tiles have."""
    tile = layouts[0][0]
    return tile.rows.stop - tile.rows.start, tile.columns.stop - tile.columns.start


def _put(
    images: Sequence[np.ndarray],
    layouts: Sequence[Sequence[tiles.Tile]],
    indices: Sequence[tiles.TileIndex],
    batch: np.ndarray,
) -> None:
    # The batch repeats its last tile where indices are fewer.
    for (image, number), values in zip(indices, batch, strict=False):
        tile = layouts[image][number]
        images[image][tile.rows, tile.columns] = values


def _token(
    tokens: Sequence[Token], indices: Sequence[tiles.TileIndex], batch: np.ndarray
) -> np.ndarray | None:
    """Of a batch of tiles: int8 [B, h, w, P], or None without planes."""
    if not tokens[0].count:
        return None
    height, width = batch.shape[1:3]
    planes = [tokens[image].planes(height, width, tile) for image, tile in indices]
    return tiles.pad_batch(np.stack(planes), len(batch))


def _place(chain, tokens, images, layouts, indices, size) -> Place | None:
    """Of a batch of tiles; None where no stage needs it."""
    if not chain.placed:
        return None
    draws = np.array([tokens[image].draw for image, _ in indices], np.int32)
    return Place(tiles.boxes(images, layouts, indices, size), tiles.pad_batch(draws, size))


class _Program:
    """A compiled function, and the seconds that compiling and running it take."""

    def __init__(self, function: Callable, args: tuple):
        start = time.perf_counter()
        # A function of its own, of which JAX forgets all when it is dropped.
        self._call = jax.jit(lambda *args: function(*args)).lower(*args).compile()
        self.compiling = time.perf_counter() - start
        self.running = 0.0

    def __call__(self, *args):
        start = time.perf_counter()
        result = jax.block_until_ready(self._call(*args))
        self.running = time.perf_counter() - start
        return result


class Programs:
    """A function of a generator and of arrays [B, h, w, ...] and [B, ...], compiled when needed.

    Attributes:
      function: may be compiled; its first argument is the generator.
    """

    def __init__(self, function: Callable):
        self.function = function
        # By generator, height and width of tiles, and their number.
        self._programs: collections.OrderedDict[tuple, _Program] = collections.OrderedDict()

    def __call__(self, chain: Chain, batch: np.ndarray, *others: Any) -> Any:
        """Calls the function.

        Args:
          chain: the generator.
          batch: tiles, [B, h, w, C].
          *others: further arguments, pytrees of arrays.
        """
        count, *size = batch.shape[:3]
        key = _kind(chain, *size), count
        program = self._programs.pop(key, None) or _Program(self.function, (chain, batch, *others))
        self._programs[key] = program
        while len(self._programs) > _MOST_PROGRAMS:
            self._programs.popitem(last=False)
        return program(chain, batch, *others)

    def batch_size(self, chain: Chain, height: int, width: int, count: int, most: int) -> int:
        """How many tiles to take at a time where there are few: as many as take least time.

        Results of generators that are not portable may depend on it, so for them it is `most`.

        Args:
          chain: the generator.
          height: of the tiles, in pixels.
          width: of the tiles, in pixels.
          count: how many there are.
          most: the usual size of a batch.

        Returns:
          `count` or more: the size of a compiled program, or a new one's, a power of two.
        """
        if count >= most or not chain.portable:
            return most
        kind, new = _kind(chain, height, width), min(1 << (count - 1).bit_length(), most)
        compiled = {
            batch: program
            for (other, batch), program in list(self._programs.items())  # threads may add to it
            if other == kind and new <= batch <= most
        }
        seconds = {batch: program.running for batch, program in compiled.items()}
        if compiled and new not in compiled:
            batch, program = max(compiled.items())
            seconds[new] = program.compiling + program.running * new / batch
        return min(seconds, key=seconds.__getitem__, default=new)


def _kind(chain: Chain, height: int, width: int) -> tuple:
    """Returns what programs depend on but for the number of tiles."""
    leaves, structure = jax.tree.flatten(chain)
    return structure, tuple(map(jax.typeof, leaves)), height, width


def _forward(chain, values, labels, token, editable, place):
    values, code = chain.forward(values.astype(jnp.float32), labels, token, editable, place)
    return values.astype(jnp.int32), code


def _inverse(chain, values, code, token, editable, place):
    return chain.inverse(values.astype(jnp.float32), code, token, editable, place).astype(jnp.int32)


_FORWARD, _INVERSE = Programs(_forward), Programs(_inverse)


def side_info_columns(chain: Chain) -> list[str]:
    """Names of the columns of side information that a payload holds, stage by stage."""
    of_tiles, of_photographs = _parted(chain)
    columns = [name for stage in of_tiles.stages for name in _fields(stage)[1]]
    return columns + list(photograph.COLUMNS) * (of_photographs is not None)


def _fields(stage: LearnedStage | GradientCoupling) -> tuple[type, tuple[str, ...]]:
    """The type of a stage's side information, and its fields; their order is part of the format."""
    if isinstance(stage, GradientCoupling):
        return SideInfo, (LABEL, "rounds", "part")
    return (ClassInfo, (LABEL,)) if stage.class_planes else (tuple, ())


def to_table(chain: Chain, side_info: tuple[tuple | ClassInfo, ...], count: int) -> np.ndarray:
    """Writes the side information of a batch as a payload holds it: a table of whole numbers.

    Args:
      chain: the stages.
      side_info: of each stage, from `Chain.forward` on `count` images.
      count: number of images.

    Returns:
      int64 [count, columns].
    """
    table = [
        np.asarray(getattr(of_stage, name), np.int64)
        for stage, of_stage in zip(chain.stages, side_info, strict=True)
        for name in _fields(stage)[1]
    ]
    return np.stack(table, axis=-1) if table else np.zeros((count, 0), np.int64)


def from_table(chain: Chain, table: np.ndarray) -> tuple[tuple | ClassInfo, ...]:
    """Undoes `to_table`: the side information for `Chain.inverse`, int32 [count] each.

    Args:
      chain: the stages.
      table: integers [count, columns].
    """
    values = iter(table.astype(np.int32).T)
    fields = [_fields(stage) for stage in chain.stages]
    return tuple(kind(**{name: next(values) for name in names}) for kind, names in fields)


def check_side_info(chain: Chain, table: np.ndarray) -> None:
    """Makes sure that a payload's table is one of these stages.

    Args:
      chain: the stages.
      table: integers [tiles, columns].

    Raises:
      DamagedPayloadError: it has another number of columns.
    """
    needed = len(side_info_columns(chain))
    if table.shape[1] != needed:
        raise DamagedPayloadError(
            f"the payload has {table.shape[1]} columns of side information, and its generator "
            f"needs {needed}: update raeg-jax, or take an untouched copy of the image"
        )
