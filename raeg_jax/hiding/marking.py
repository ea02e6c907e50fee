"""Marks an image by the cheapest plan with which the bits fit, and restores it.

An image is cut into bands of rows that know nothing of each other, so that large images need little
memory, and bands that a message does not reach are not touched. Within a band, a layer is one
colour of the checkerboard of one channel; its samples are predicted from all other layers. Layers
are marked one after another and restored in reverse order, so that both times the other layers are
the same.

A layer carries its own flags first (see `expansion`), then the flags for which earlier layers had
no capacity, then the message. Reading backwards, a layer's flags are always known in time.

A plan is an estimate, since marks make their neighbours harder to predict. So it is tried, and if
bits are left over the next plan has capacity to spare. Marks reach down from the top as far as
needed.
"""

import itertools
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from raeg_jax.hiding.expansion import (
    MIN_SIDE,
    WEIGHTS,
    Contraction,
    Expansion,
    PredictionErrors,
    Predictor,
    prediction_errors,
)
from raeg_jax.hiding.plan import Candidates, ErrorHistograms, Plan

# Lowest bits of the first samples that hold the header; their pixels are never marked.
HEADER_BITS = 64
# The end of the marks is a multiple of the image's height / PARTS.
PARTS = 256
_BAND_PIXELS = 2**18
# Samples to choose the best ones from for each bit, if the image is that large.
_SAMPLES_PER_BIT = 256
# Most bands whose errors are counted for a plan.
_MAX_COUNTED = 24


class MarkedImage(NamedTuple):
    """An image with hidden bits, but without its header.

    Attributes:
      image: uint8 [H, W, C], the header's bits zero.
      plan: how it is marked.
      parts: how far it is marked from the top, in 1 / `PARTS` of its height.
    """

    image: np.ndarray
    plan: Plan
    parts: int


def capacity(image: np.ndarray, noise: np.ndarray) -> int:
    """Returns a number of bits that surely fit.

    Args:
      image: uint8 [H, W, C], the header's bits zero.
      noise: random bits, more than fit: how many do depends a little on the bits themselves.
    """
    bands = bands_of(*image.shape[:2])
    plan = _candidates(image, bands).largest()
    queue, fits = BitQueue(noise), 0
    for rows in bands:
        _, queue = Band(image, rows).mark(plan, len(rows), queue)
        if not len(queue.flags):
            fits = len(noise) - queue.size
    # Six times the largest deviation seen, that of flat images.
    return fits - 4 * math.isqrt(fits)


def mark(image: np.ndarray, bits: np.ndarray) -> MarkedImage | None:
    """Hides bits in an image; returns None if they don't fit.

    Args:
      image: uint8 [H, W, C], the header's bits zero.
      bits: uint8.
    """
    if len(bits) > image.size:  # A sample carries one at most.
        return None
    height, width, channels = image.shape
    bands = bands_of(height, width)
    # Plans are chosen for the first bands, about as far down as the message will reach.
    used = 1
    while True:
        while used < len(bands) and (
            bands[used].start * width * channels < _SAMPLES_PER_BIT * len(bits)
        ):
            used += 1
        candidates = _candidates(image, bands[:used])
        needed = len(bits)
        while best := candidates.best(needed):
            plan, expected = best
            marked, left = _mark_by(image, plan, bits)
            if not left:
                return marked
            # Half of what was left over: the next plan may be better than it seems.
            needed += needed * left // (2 * len(bits))
            needed = max(needed, expected) + needed // 64 + 1
        if used == len(bands):
            break
        used = min(4 * used, len(bands))
    marked, left = _mark_by(image, candidates.largest(), bits)
    return None if left else marked


def restore(image: np.ndarray, plan: Plan, parts: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Undoes `mark`.

    Args:
      image: uint8 [H, W, C], the header's bits zero.
      plan: from the header.
      parts: from the header.

    Returns:
      The original image, the header's bits still zero, and the bits, followed by some zeros; None
      if the image was changed.
    """
    height, width = image.shape[:2]
    end = _rows_until(parts, height)
    original = image.copy()
    hidden: list[np.ndarray] = []
    for rows in reversed(bands_of(height, width)):
        if rows.start < end:
            planes = Band(image, rows).restore(plan, min(end, rows.stop) - rows.start, hidden)
            if planes is None:
                return None
            original[rows.start : rows.stop] = planes.transpose(1, 2, 0)
    return original, np.concatenate(hidden[::-1])


def bands_of(height: int, width: int) -> list[range]:
    """Returns the rows of each band: at least `MIN_SIDE`, starting at multiples of H / `PARTS`."""
    min_rows = max(_BAND_PIXELS // width, MIN_SIDE)
    starts = [0]
    for part in range(PARTS):
        start = _rows_until(part, height)
        if start - starts[-1] >= min_rows and height - start >= min_rows:
            starts.append(start)
    return [range(*pair) for pair in zip(starts, [*starts[1:], height], strict=True)]


def _rows_until(part: int, height: int) -> int:
    return -(-height * part // PARTS)


def _candidates(image: np.ndarray, bands: list[range]) -> Candidates:
    """Counts the errors of an image's bands, or of some of them if there are many."""
    counted = bands[:: -(-len(bands) // _MAX_COUNTED)]
    histograms = ErrorHistograms()
    for rows in counted:
        band = Band(image, rows)
        histograms.add(band.planes, band.positions(len(rows)))
    return histograms.candidates(sum(map(len, counted)), sum(map(len, bands)))


def _mark_by(image: np.ndarray, plan: Plan, bits: np.ndarray) -> tuple[MarkedImage, int]:
    """Marks an image by a plan; also returns the number of bits that did not fit."""
    height, width = image.shape[:2]
    marked, queue, parts = image.copy(), BitQueue(bits), 0
    for rows in bands_of(height, width):
        band = Band(image, rows)
        used = len(rows)
        if queue.size < band.planes.size:  # It may be the last band.
            enough = band.capacity_by_row(plan) >= queue.size + queue.size // 64
            used = int(enough.argmax()) + 1 if enough.any() else used
        while True:
            parts = PARTS * (rows.start + used - 1) // height + 1
            used = _rows_until(parts, height) - rows.start
            planes, rest = band.mark(plan, used, queue)
            if not rest.size or used == len(rows):
                break
            used = min(len(rows), used + 1 + used * rest.size // queue.size)
        marked[rows.start : rows.stop] = planes.transpose(1, 2, 0)
        queue = rest
        if not queue.size:
            break
    return MarkedImage(marked, plan, parts), queue.size


class BitQueue(NamedTuple):
    """Bits that are still to be hidden.

    Attributes:
      message: uint8.
      flags: uint8, those for which earlier layers had no capacity; they come first.
    """

    message: np.ndarray
    flags: np.ndarray = np.zeros(0, np.uint8)

    @property
    def size(self) -> int:
        """Number of bits."""
        return len(self.flags) + len(self.message)

    def take(self, flags: np.ndarray, count: int) -> tuple[np.ndarray, "BitQueue"]:
        """Takes the next bits, zeros after the last.

        Args:
          flags: uint8, those of the layer that takes the bits.
          count: number of bits to take.
        """
        flags = np.concatenate([flags, self.flags])
        from_message = max(0, count - len(flags))
        known = np.concatenate([flags[:count], self.message[:from_message]])
        bits = np.pad(known, (0, count - len(known)))
        return bits, BitQueue(self.message[from_message:], flags[count:])


class Band:
    """Some rows of an image, which are marked and restored layer by layer.

    Args:
      image: uint8 [H, W, C].
      rows: the rows of the band.

    Attributes:
      planes: int16 [C, len(rows), W], the band's samples.
    """

    def __init__(self, image: np.ndarray, rows: range):
        self.planes = image[rows.start : rows.stop].transpose(2, 0, 1).astype(np.int16)
        self._width = image.shape[1]
        header_pixels = -(-HEADER_BITS // image.shape[2])
        self._first = max(0, header_pixels - rows.start * self._width)

    def positions(self, rows: int) -> np.ndarray:
        """Returns indices in the flattened [H, W]: the first rows' pixels without the header's."""
        return np.arange(min(self._first, rows * self._width), rows * self._width)

    def mark(self, plan: Plan, rows: int, queue: BitQueue) -> tuple[np.ndarray, BitQueue]:
        """Hides bits.

        Args:
          plan: which errors carry bits.
          rows: number of rows to mark, from the first one on.
          queue: the bits to hide.

        Returns:
          The marked planes, and the bits that did not fit.
        """
        planes = self.planes.copy()
        for channel, positions in self._layers(rows):
            layer = Expansion(*_errors_and_bins(planes, channel, positions, plan))
            bits, queue = queue.take(layer.flags, layer.capacity)
            planes[channel].reshape(-1)[positions] = layer.embed(bits)
        return planes, queue

    def restore(self, plan: Plan, rows: int, hidden: list[np.ndarray]) -> np.ndarray | None:
        """Undoes `mark`.

        Args:
          plan: as for `mark`.
          rows: as for `mark`.
          hidden: what later layers carried, from the last one on; this band's bits are appended.

        Returns:
          The original planes; None if flags are missing, so `mark` did not make this band.
        """
        planes = self.planes.copy()
        for channel, positions in reversed([*self._layers(rows)]):
            layer = Contraction(*_errors_and_bins(planes, channel, positions, plan))
            bits = layer.bits
            while len(bits) < layer.flag_count:
                if not hidden:
                    return None
                bits = np.concatenate([bits, hidden.pop()])
            planes[channel].reshape(-1)[positions] = layer.restore(bits[: layer.flag_count])
            hidden.append(bits[layer.flag_count :])
        return planes

    def capacity_by_row(self, plan: Plan) -> np.ndarray:
        """Estimates the bits, less flags, that fit into all rows up to each one: int64 [H]."""
        height = self.planes.shape[1]
        gain = np.zeros(height * self._width, np.int64)
        positions = self.positions(height)
        for channel in range(len(self.planes)):
            layer = Expansion(*_errors_and_bins(self.planes, channel, positions, plan))
            gain[positions] += layer.gain()
        return gain.reshape(height, self._width).sum(1).cumsum()

    def _layers(self, rows: int) -> Iterable[tuple[int, np.ndarray]]:
        """Channel and positions of each layer, in the order of marking."""
        positions = self.positions(rows)
        odd = (positions // self._width + positions % self._width) & 1 == 1
        colours = positions[~odd], positions[odd]
        return itertools.product(range(len(self.planes)), colours)


def _errors_and_bins(
    planes: np.ndarray, channel: int, positions: np.ndarray, plan: Plan
) -> tuple[PredictionErrors, np.ndarray, np.ndarray]:
    """Errors of some samples of a channel, and start and width of their expansion bins."""
    predictor = Predictor(planes)
    predicted = predictor.prediction(channel, WEIGHTS[plan.weight]).ravel()[positions]
    level = predictor.level(channel).ravel()[positions]
    errors = prediction_errors(planes[channel].ravel()[positions], predicted)
    return errors, *plan.bins_at(level)
