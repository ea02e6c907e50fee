"""Prediction-error expansion: errors in certain bins carry a bit each, larger errors make way.

An error e = sample - prediction lies above (e >= 0) or below the prediction, and its rank there is
e or -e - 1. Ranks `start` to `start + width - 1` carry a bit each: rank r becomes 2 r - start +
bit. Higher ranks are shifted by `width`, lower ones stay (Sachnev et al. 2009 with start = 0; Li et
al. 2015, IEEE TIFS 10(9), move the start out where samples are noisy).

Near 0 and 255 nothing can be shifted: the last `width` ranks of a sample's range stay. A reader
can't tell them from ranks that were shifted there, so one flag for each such sample (the location
map) is hidden too. A sample predicted near white is inverted first, and samples with little
headroom are left alone: plain black or white then needs no flags and carries a bit a sample.

Predicted are the samples of one checkerboard colour of a channel, from all other samples. All four
neighbours of a black sample are white: their mean is the rhombus predictor (Sachnev et al. 2009,
IEEE TCSVT 19(7), "Reversible watermarking algorithm using sorting and prediction"). Ours adds a
weight times the difference between the other channels' samples and their own rhombus means, since
edges and texture are mostly grey. All of it is computed in integers, so that every machine predicts
the same.
"""

import itertools
from typing import NamedTuple

import numpy as np

# Ranks between prediction and end of range that a sample must have to be used at all.
_MIN_HEADROOM = 8
# Weights of the other two channels' differences, in eighths.
WEIGHTS = (0, 2, 3, 4)
# Predictions are in 1 / STEPS of a sample's unit. NumPy shifts ten times as fast as it divides.
_STEP_BITS = 5
STEPS = 1 << _STEP_BITS
MIN_SIDE = 3

# Lower ends of the levels of activity: two an octave.
_LEVEL_STARTS = np.sort(np.concatenate([2 << np.arange(11), 3 << np.arange(10)]))
LEVELS = len(_LEVEL_STARTS) + 1
_MAX_ACTIVITY = 4080
_LEVEL_OF = np.searchsorted(_LEVEL_STARTS, np.arange(_MAX_ACTIVITY + 1), side="right").astype(
    np.uint8
)

_UP, _DOWN, _LEFT, _RIGHT = (-1, 0), (1, 0), (0, -1), (0, 1)
# For each neighbour two samples of the same colour farther out.
_OUTER = {
    _UP: ((-1, -2), (-1, 2)),
    _DOWN: ((1, -2), (1, 2)),
    _LEFT: ((-2, -1), (2, -1)),
    _RIGHT: ((-2, 1), (2, 1)),
}


class Predictor:
    """Predictions and activity around the samples of an image.

    The value at a sample never depends on the samples of the same colour and channel.

    Args:
      planes: int16 [C, H, W] of 0..255; both sides at least `MIN_SIDE`.
    """

    def __init__(self, planes: np.ndarray):
        # Reflection keeps colours: edge padding would use a sample in its own prediction.
        self._padded = np.pad(planes, ((0, 0), (2, 2), (2, 2)), "reflect")
        self._height, self._width = planes.shape[1:]
        up, down, left, right = (self._shifted(slice(None), offset) for offset in _OUTER)
        self._rhombus = up + down + left + right
        # Four times each sample's difference from its rhombus mean.
        self._detail = 4 * planes - self._rhombus
        first, *rest = self._detail
        self._details = sum(rest, start=first)

    def prediction(self, channel: int, weight: int) -> np.ndarray:
        """Predicts a channel: int16 [H, W] in 1 / `STEPS`, perhaps outside 0..255.

        Args:
          channel: index of the channel to predict.
          weight: one of `WEIGHTS`.
        """
        others = self._details - self._detail[channel]
        return 8 * self._rhombus[channel] + np.int16(weight) * others

    def level(self, channel: int) -> np.ndarray:
        """Level of local activity: uint8 [H, W] below `LEVELS`, about proportional to log |error|.

        Activity is the sum of differences between samples of the other colour, up to two samples
        away, and of the other channels' differences from their rhombus means.

        Args:
          channel: index of the channel to predict.
        """
        near = {offset: self._shifted(channel, offset) for offset in _OUTER}
        cycle = (_UP, _LEFT, _DOWN, _RIGHT, _UP)
        ring = sum(np.abs(near[a] - near[b]) for a, b in itertools.pairwise(cycle))
        outer = sum(
            np.abs(near[offset] - self._shifted(channel, far))
            for offset, pair in _OUTER.items()
            for far in pair
        )
        others = sum(
            np.abs(detail) for other, detail in enumerate(self._detail) if other != channel
        )
        return _LEVEL_OF[ring + (outer >> 1) + others]

    def _shifted(self, channel: int | slice, offset: tuple[int, int]) -> np.ndarray:
        """Each sample's neighbour at an offset (rows, columns): [H, W] or [C, H, W]."""
        rows, columns = (slice(2 + distance, None) for distance in offset)
        return self._padded[channel, rows, columns][..., : self._height, : self._width]


class PredictionErrors(NamedTuple):
    """Prediction errors of some samples; arrays of one length.

    Attributes:
      rank: size of the error.
      headroom: number of ranks that samples on this side of the prediction can have.
      above: whether the (inverted) sample is at least the prediction.
      inverted: whether the sample was subtracted from 255, which makes predictions 0..127.
      predicted: the rounded prediction of the (inverted) sample.
    """

    rank: np.ndarray
    headroom: np.ndarray
    above: np.ndarray
    inverted: np.ndarray
    predicted: np.ndarray

    def samples(self) -> np.ndarray:
        """The samples that have these errors: int16 0..255."""
        sample = self.predicted + np.where(self.above, self.rank, ~self.rank)
        return np.where(self.inverted, 255 - sample, sample)


def prediction_errors(samples: np.ndarray, prediction: np.ndarray) -> PredictionErrors:
    """Compares samples with their predictions.

    Args:
      samples: int16 0..255.
      prediction: int16 in 1 / `STEPS`, of the same shape.
    """
    inverted = prediction >= 255 * STEPS // 2
    prediction = np.where(inverted, 255 * STEPS - prediction, prediction)
    predicted = np.maximum(prediction >> _STEP_BITS, 0)
    error = np.where(inverted, 255 - samples, samples) - predicted
    above = error >= 0
    headroom = np.where(above, 256 - predicted, predicted)
    return PredictionErrors(np.where(above, error, ~error), headroom, above, inverted, predicted)


def min_headroom(start: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Ranks that a sample must have, so that expanded ones and those that stay are apart."""
    return np.maximum(start + 3 * width, _MIN_HEADROOM)


class Expansion:
    """Some samples' errors and how to expand them, before the bits are known.

    Args:
      errors: the samples' errors.
      start: int16, the lowest rank that carries a bit.
      width: int16, the number of ranks that carry a bit; where 0 the sample stays.

    Attributes:
      capacity: number of bits that the samples carry.
      flags: uint8, the location map: 1 where a sample stays, 0 where another is shifted to the
        ranks of such samples.
    """

    def __init__(self, errors: PredictionErrors, start: np.ndarray, width: np.ndarray):
        rank, headroom = errors.rank, errors.headroom
        used = (width > 0) & (headroom >= min_headroom(start, width))
        self._errors, self._start, self._width = errors, start, width
        self._expanded = used & (rank >= start) & (rank < start + width)
        self._shifted = used & (rank >= start + width) & (rank < headroom - width)
        self._flagged = used & (rank >= headroom - 2 * width)
        self.capacity = int(np.count_nonzero(self._expanded))
        self.flags = (~self._shifted[self._flagged]).astype(np.uint8)

    def gain(self) -> np.ndarray:
        """What each sample adds to the message: a bit, less a flag; int8."""
        return self._expanded.astype(np.int8) - self._flagged

    def embed(self, bits: np.ndarray) -> np.ndarray:
        """Returns the marked samples; `bits` has `capacity` elements."""
        rank = self._errors.rank + self._shifted * self._width
        expanded = self._expanded
        rank[expanded] += self._errors.rank[expanded] - self._start[expanded] + bits
        return self._errors._replace(rank=rank).samples()


class Contraction:
    """The inverse of `Expansion`: some marked samples' errors, before the flags are known.

    Args:
      errors: the marked samples' errors.
      start: as for `Expansion`.
      width: as for `Expansion`.

    Attributes:
      bits: uint8, what the samples carry.
      flag_count: number of flags that the samples need.
    """

    def __init__(self, errors: PredictionErrors, start: np.ndarray, width: np.ndarray):
        rank, headroom = errors.rank, errors.headroom
        used = (width > 0) & (headroom >= min_headroom(start, width))
        self._errors, self._start, self._width = errors, start, width
        self._expanded = used & (rank >= start) & (rank < start + 2 * width)
        self._shifted = used & (rank >= start + 2 * width)
        self._flagged = used & (rank >= headroom - width)
        self.bits = ((rank - start)[self._expanded] & 1).astype(np.uint8)
        self.flag_count = int(np.count_nonzero(self._flagged))

    def restore(self, flags: np.ndarray) -> np.ndarray:
        """Returns the original samples; `flags` has `flag_count` elements."""
        shifted = self._shifted.copy()
        shifted[self._flagged] = flags == 0
        rank = self._errors.rank - shifted * self._width
        expanded = self._expanded
        rank[expanded] = (rank[expanded] + self._start[expanded]) >> 1
        return self._errors._replace(rank=rank).samples()
