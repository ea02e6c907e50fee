"""Prediction-error expansion: errors in certain bins carry a bit each, larger errors make way.

An error e = sample - prediction lies above (e >= 0) or below the prediction, and its rank there is
e or -e - 1. Ranks `start` to `start + width - 1` carry a bit each: rank r becomes 2 r - start +
bit. Higher ranks are shifted by `width`, lower ones stay (Sachnev et al. 2009 with start = 0; Li et
al. 2015, IEEE TIFS 10(9), move the start out where samples are noisy).

Near 0 and 255 nothing can be shifted: the last `width` ranks of a sample's range stay. A reader
can't tell them from ranks that were shifted there, so one flag for each such sample (the location
map) is hidden too. A sample predicted near white is inverted first, and samples with little
headroom are left alone: plain black or white then needs no flags and carries a bit a sample.
"""

from typing import NamedTuple

import numpy as np

from raeg_jax.hiding.prediction import STEPS

# Ranks between prediction and end of range that a sample must have to be used at all.
_MIN_HEADROOM = 8


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
    predicted = np.maximum(prediction // STEPS, 0)
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
