"""Marks an image band by band, and within a band layer by layer, and the way back.

A layer is one colour of the checkerboard of one channel; its samples are predicted from all other
layers. Layers are marked one after another and restored in reverse order, so that both times the
other layers are the same. A band is some rows that know nothing of those outside: large images need
little memory, and bands that a message does not reach are not touched.

What a layer carries starts with its own flags (see `expansion`), then comes what earlier layers had
no place for, then the message. Reading backwards, a layer's flags are always known in time.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from raeg_jax.codec import expansion, prediction
from raeg_jax.codec.plan import Plan

# How finely it is told where the marks end.
PARTS = 256
_PIXELS = 2**18


class FlagsError(ValueError):
    """Marked layers lack some of their flags: this is no marked image, or no more."""


class Queue(NamedTuple):
    """Bits on their way into an image.

    Attributes:
      message: uint8.
      flags: uint8, those of layers that were full.
    """

    message: np.ndarray
    flags: np.ndarray = np.zeros(0, np.uint8)

    @property
    def left(self) -> int:
        """Number of bits."""
        return len(self.flags) + len(self.message)

    def draw(self, flags: np.ndarray, count: int) -> tuple[np.ndarray, "Queue"]:
        """Takes the next bits, zeros after the last.

        Args:
          flags: uint8, those of the layer that takes the bits.
          count: number of bits to take.
        """
        flags = np.concatenate([flags, self.flags])
        free = max(0, count - len(flags))
        known = np.concatenate([flags[:count], self.message[:free]])
        bits = np.zeros(count, np.uint8)
        bits[: len(known)] = known
        return bits, Queue(self.message[free:], flags[count:])


def rows_until(part: int, height: int) -> int:
    """Returns the number of rows in the first `part` / `PARTS` of an image, rounded up."""
    return -(-height * part // PARTS)


def rows_of(height: int, width: int) -> list[range]:
    """Returns the rows of each band: at least `prediction.LEAST_SIDE`, and whole parts."""
    least = max(_PIXELS // width, prediction.LEAST_SIDE)
    starts = [0]
    for part in range(PARTS):
        start = rows_until(part, height)
        if start - starts[-1] >= least and height - start >= least:
            starts.append(start)
    return [range(*pair) for pair in zip(starts, [*starts[1:], height], strict=True)]


class Band:
    """Some rows of an image.

    Args:
      planes: int16 [C, H, W].
      first: number of pixels from the first on that must not be marked.
    """

    def __init__(self, planes: np.ndarray, first: int):
        self.planes = planes
        self.height, self._width = planes.shape[1:]
        self._first = first

    def cells(self, rows: int) -> np.ndarray:
        """Returns positions in the flattened [H, W] of what may be marked within some rows."""
        return np.arange(min(self._first, rows * self._width), rows * self._width)

    def mark(self, plan: Plan, rows: int, queue: Queue) -> tuple[np.ndarray, Queue]:
        """Hides bits.

        Args:
          plan: how.
          rows: to be marked, from the first on.
          queue: bits to hide.

        Returns:
          The marked planes, and the bits that found no place.
        """
        planes = self.planes.copy()
        for channel, cells in self._layers(rows):
            layer = expansion.Expansion(*_look(planes, channel, cells, plan))
            bits, queue = queue.draw(layer.flags, layer.capacity)
            planes[channel].reshape(-1)[cells] = layer.embed(bits)
        return planes, queue

    def restore(self, plan: Plan, rows: int, hidden: list[np.ndarray]) -> np.ndarray:
        """Undoes `mark`.

        Args:
          plan: as for `mark`.
          rows: as for `mark`.
          hidden: what later bands carried, in order from the last on; this band's is appended.

        Returns:
          The original planes.

        Raises:
          FlagsError: it is not what `mark` made.
        """
        planes = self.planes.copy()
        for channel, cells in reversed([*self._layers(rows)]):
            layer = expansion.Contraction(*_look(planes, channel, cells, plan))
            bits = layer.bits
            while len(bits) < layer.unsure:
                if not hidden:
                    raise FlagsError("too few bits for the flags")
                bits = np.concatenate([bits, hidden.pop()])
            planes[channel].reshape(-1)[cells] = layer.restore(bits[: layer.unsure])
            hidden.append(bits[layer.unsure :])
        return planes

    def room_by_row(self, plan: Plan) -> np.ndarray:
        """Estimates the bits that fit into all rows up to each, flags subtracted: int64 [H]."""
        room = np.zeros(self.height * self._width, np.int64)
        cells = self.cells(self.height)
        for channel in range(len(self.planes)):
            layer = expansion.Expansion(*_look(self.planes, channel, cells, plan))
            room[cells] += layer.gain()
        return room.reshape(self.height, self._width).sum(1).cumsum()

    def _layers(self, rows) -> Iterator[tuple[int, np.ndarray]]:
        cells = self.cells(rows)
        colour = (cells // self._width + cells % self._width) & 1
        colours = [cells[colour == which] for which in (0, 1)]
        for channel in range(len(self.planes)):
            for cells in colours:
                yield channel, cells


def _look(planes, channel, cells, plan):
    """Returns the errors of some samples of a channel, and the plan for them."""
    around = prediction.Surroundings(planes)
    predicted = around.prediction(channel, prediction.WEIGHTS[plan.weight]).ravel()[cells]
    level = around.level(channel).ravel()[cells]
    found = expansion.errors(planes[channel].ravel()[cells], predicted)
    return found, *plan.expansion_of(level)
