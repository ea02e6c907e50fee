"""The pixels of a photograph of any size, filled and shifted square by square.

What `GradientCoupling` does to whole arrays around its conditioner, in programs for squares of one
size, which threads run side by side. It takes a few bytes a sample.
"""

import collections
import concurrent.futures
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.exact import integers
from raeg_jax.generator import photograph_guide
from raeg_jax.generator.gradient_coupling import SHARE_PARTS, GradientCoupling, raw_shift
from raeg_jax.generator.masking import fill_inside

# Side of the squares of pixels that programs take.
_SIDE = 256
_CHANNELS = 3
_THREADS = concurrent.futures.ThreadPoolExecutor(os.cpu_count(), "raeg-pixels")

T = TypeVar("T")


class Shift(NamedTuple):
    """One round of a photograph.

    Attributes:
      stage: the coupling, without its conditioner.
      round: its number.
      room: uint8 [H, W, 2], in whole squares: how far the masked sample may move down and up.
      direction: int16 [h + 1, w + 1, 3], of cells, in sixteenths; zeros at the ends.
      rms: of the direction of masked samples, in eighths.
      length: c, in 1,024ths.
    """

    stage: GradientCoupling
    round: int
    room: np.ndarray
    direction: np.ndarray
    rms: int
    length: int


class Canvas:
    """A photograph that is changed, continued by a pixel on each side and then to whole squares."""

    def __init__(self, image: np.ndarray, token: np.ndarray | None):
        self.height, self.width = image.shape[:2]
        self.cell = photograph_guide.cell_side(self.height, self.width)
        whole = [-(-length // _SIDE) * _SIDE for length in image.shape[:2]]
        self._values = np.zeros((whole[0] + 2, whole[1] + 2, _CHANNELS), np.int16)
        self._inside = np.s_[1 : 1 + self.height, 1 : 1 + self.width]
        self._values[self._inside] = image
        # The channel that the first round masks.
        self._first = np.zeros(self._values.shape[:2], np.uint8)
        rows, columns = (
            (factor * np.arange(length) % _CHANNELS).astype(np.uint8)
            for factor, length in ((2, self.height), (1, self.width))
        )
        first = np.add.outer(rows, columns)
        words = np.zeros((1, photograph_guide.WORDS), np.uint32)
        if token is not None:
            first += np.sum(token < 0, axis=-1, dtype=np.uint8)
            words = photograph_guide.crop_words(np, token[None])
        self.words = words
        self._first[self._inside] = first % _CHANNELS
        _reflect(self._first, self.height, self.width)

    def _each(self, function: Callable[[tuple[slice, slice]], T]) -> Iterator[T]:
        """Calls a function of rows and columns for all squares, in threads; yields the results."""
        squares = [
            np.s_[top : top + _SIDE, left : left + _SIDE]
            for top in range(0, self.height, _SIDE)
            for left in range(0, self.width, _SIDE)
        ]
        return _THREADS.map(function, squares)

    def _seen(self, array: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """A square of an array like `_values`, with a pixel more on each side."""
        return array[rows.start : rows.stop + 2, columns.start : columns.stop + 2]

    def _own(self, array: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        return array[rows.start + 1 : rows.stop + 1, columns.start + 1 : columns.stop + 1]

    def fill(
        self, stage: GradientCoupling, index: int
    ) -> tuple[photograph_guide.Working, np.ndarray]:
        """Fills the masked samples: the working image, and the `room` of `Shift`."""
        _reflect(self._values, self.height, self.width)
        shape = [length - 2 for length in self._values.shape[:2]]
        filled = np.empty((*shape, _CHANNELS), np.uint8)
        room = np.empty((*shape, 2), np.uint8)

        def fill(square):
            filled[square], room[square] = _fill(
                stage, self._seen(self._values, *square), self._seen(self._first, *square), index
            )

        collections.deque(self._each(fill), 0)
        filled = filled[: self.height, : self.width]
        means = photograph_guide.cell_means(np, filled[None], self.cell)
        return photograph_guide.pad_working(np, means), room

    def _direction(self, direction: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """Of the pixels of a square; 0 outside the photograph."""
        places = []
        for axis, (part, length) in enumerate(((rows, self.height), (columns, self.width))):
            numbers = np.arange(part.start, part.stop)
            end = direction.shape[axis] - 1
            places.append(np.where(numbers < length, numbers // self.cell, end))
        return direction[places[0]][:, places[1]]

    def rms(self, direction: np.ndarray, index: int) -> int:
        """Root mean square of the direction where it is masked, as `integers.rms` has it."""

        def sums(square):
            part = self._direction(direction, *square)
            return square[0], np.asarray(_square_sums(part, self._own(self._first, *square), index))

        total = np.zeros(len(self._values) - 2, np.int64)
        for rows, part in self._each(sums):
            total[rows] += part
        means = total * integers.RMS_PARTS**2 // (self.width * _CHANNELS)
        return math.isqrt(int(means.sum()) // self.height)

    def errors(self, shift: Shift, original: np.ndarray, parts: Sequence[int]) -> np.ndarray:
        """Sums of squared errors after parts of a shift and clipping: float64 [len(parts)]."""
        numbers = np.array(parts, np.int32)

        def errors(square):
            # Outside the photograph nothing counts, and there the direction is 0.
            reference = np.clip(self._own(self._values, *square), 0, 255).astype(np.uint8)
            given = original[square]
            reference[: given.shape[0], : given.shape[1]] = given
            rows = np.asarray(self._call(_errors, shift, square, reference, numbers))
            return np.sum(rows, axis=1, dtype=np.float64)

        return sum(self._each(errors), np.zeros(len(parts)))

    def shift(self, shift: Shift, part: int) -> None:
        """Applies parts of a shift; a negative number undoes them."""

        def change(square):
            self._own(self._values, *square)[:] = self._call(_shifted, shift, square, part)

        collections.deque(self._each(change), 0)

    def _call(self, program: Callable, shift: Shift, square: tuple[slice, slice], *others):
        return program(
            shift.stage,
            self._own(self._values, *square),
            self._own(self._first, *square),
            shift.room[square],
            self._direction(shift.direction, *square),
            shift.round,
            shift.rms,
            shift.length,
            *others,
        )

    def take(self) -> np.ndarray:
        """The values, int16 [H, W, 3]."""
        return self._values[self._inside]


def _reflect(array, height, width):
    """Continues an array of `Canvas` by reflection; an axis of one pixel repeats it."""
    for axis, length in ((0, height), (1, width)):
        along = np.moveaxis(array, axis, 0)
        along[0], along[length + 1] = along[min(2, length)], along[max(length - 1, 1)]


def _mask(first, index):
    """The mask of a round: [h, w] -> bool [1, h, w, 3]."""
    channel = (first.astype(jnp.int32) + index) % _CHANNELS
    return (channel[..., None] == jnp.arange(_CHANNELS))[None]


@jax.jit
def _fill(stage, values, first, index):
    filled = fill_inside(values.astype(jnp.int32)[None], _mask(first, index))
    mask = _mask(first[1:-1, 1:-1], index)
    room = [jnp.sum(jnp.where(mask, each, 0), axis=-1)[0] for each in stage.room(filled)]
    image = jnp.clip(filled.image, 0, 255)[0]
    return image.astype(jnp.uint8), jnp.stack(room, axis=-1).astype(jnp.uint8)


@jax.jit
def _square_sums(direction, first, index):
    """Sums of squares of each row, below 2^32: uint32 [h]."""
    masked = jnp.where(_mask(first, index)[0], direction.astype(jnp.int32), 0)
    return jnp.sum(masked**2, axis=(1, 2), dtype=jnp.uint32)


def _limited(stage, first, room, direction, index, rms, length):
    """The shift of a square as a function of its part: int32 [h, w, 3]."""
    mask = _mask(first, index)[0]
    # One channel of each pixel is masked; see `integers.rms`.
    square = SHARE_PARTS**2 * integers.RMS_PARTS**2
    share = jnp.int32(math.isqrt(square // _CHANNELS))
    raw = raw_shift(jnp.where(mask, direction.astype(jnp.int32), 0), rms, share, length)
    down, up = room[..., :1].astype(jnp.int32), room[..., 1:].astype(jnp.int32)
    return lambda part: jnp.where(mask, stage.limited(raw, part, (down, up)), 0)


@jax.jit
def _shifted(stage, values, first, room, direction, index, rms, length, part):
    shift = _limited(stage, first, room, direction, index, rms, length)(jnp.abs(part))
    return values + (jnp.sign(part) * shift).astype(jnp.int16)


@jax.jit
def _errors(stage, values, first, room, direction, index, rms, length, reference, parts):
    limited = _limited(stage, first, room, direction, index, rms, length)
    values, reference = (x.astype(jnp.int32) for x in (values, reference))

    def error(part):
        changed = jnp.clip(values + limited(part), 0, 255)
        # Of each row: those of a square need more than 32 bits.
        return jnp.sum((changed - reference) ** 2, axis=(1, 2))

    return jax.lax.map(error, parts)
