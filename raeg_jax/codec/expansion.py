"""Prediction-error expansion: bits go into errors of one size, larger errors make way.

An error e = sample - prediction has a side (e >= 0 or e < 0) and a rank on it: e or -e - 1. Ranks
`start` to `start + width - 1` carry a bit each: rank r becomes 2 r - start + bit. Higher ranks
grow by `width`, lower ones stay (Sachnev et al. 2009 with start = 0; Li et al. 2015, IEEE TIFS
10(9), move the start out where samples are noisy).

At black and white there is no way to make: the last `width` ranks that a sample's range has stay as
they are. Who reads can't tell them from those that came there, so one flag for each such sample,
the location map, is hidden too. A sample predicted near white is inverted first, and a side with
little room is left alone: plain black or white then needs no flags and carries a bit a sample.
"""

from typing import NamedTuple

import numpy as np

from raeg_jax.codec.prediction import STEPS

# Ranks that a side must have to be used at all.
LEAST_ROOM = 8


class Errors(NamedTuple):
    """Prediction errors of some samples; arrays of one length.

    Attributes:
      rank: size of the error.
      room: number of ranks on its side.
      above: whether the (inverted) sample is at least the prediction.
      inverted: whether the sample was subtracted from 255, which makes predictions 0..127.
      predicted: the rounded prediction of the (inverted) sample.
    """

    rank: np.ndarray
    room: np.ndarray
    above: np.ndarray
    inverted: np.ndarray
    predicted: np.ndarray

    def samples(self) -> np.ndarray:
        """int16 0..255."""
        sample = self.predicted + np.where(self.above, self.rank, ~self.rank)
        return np.where(self.inverted, 255 - sample, sample)


def errors(samples: np.ndarray, prediction: np.ndarray) -> Errors:
    """Compares samples, int16 0..255, with their predictions, int16 in 1 / `STEPS`."""
    inverted = prediction >= 255 * STEPS // 2
    prediction = np.where(inverted, 255 * STEPS - prediction, prediction)
    predicted = np.maximum(prediction // STEPS, 0)
    error = np.where(inverted, 255 - samples, samples) - predicted
    above = error >= 0
    room = np.where(above, 256 - predicted, predicted)
    return Errors(np.where(above, error, ~error), room, above, inverted, predicted)


def least_room(start: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Ranks that a side must have, so that those that carry and those that stay are apart."""
    return np.maximum(start + 3 * width, LEAST_ROOM)


class Expansion:
    """Some samples' errors and how to expand them, before bits are known.

    Args:
      found: the errors.
      start: int16, the lowest rank that carries.
      width: int16, the number of ranks that carry; where 0 the sample stays.

    Attributes:
      capacity: number of bits the samples carry.
      flags: uint8, the location map: 1 where a sample stays, 0 where it comes to the same ranks.
    """

    def __init__(self, found: Errors, start: np.ndarray, width: np.ndarray):
        rank, room = found.rank, found.room
        used = (width > 0) & (room >= least_room(start, width))
        self._found, self._start, self._width = found, start, width
        self._carries = used & (rank >= start) & (rank < start + width)
        self._moves = used & (rank >= start + width) & (rank < room - width)
        self._unsure = used & (rank >= room - 2 * width)
        self.capacity = int(np.count_nonzero(self._carries))
        self.flags = (~self._moves[self._unsure]).astype(np.uint8)

    def gain(self) -> np.ndarray:
        """Returns what each sample adds to the message: a carried bit, less a flag; int8."""
        return self._carries.astype(np.int8) - self._unsure

    def embed(self, bits: np.ndarray) -> np.ndarray:
        """Returns the marked samples; `bits` are `capacity` many."""
        rank = self._found.rank + self._moves * self._width
        carries = self._carries
        rank[carries] += self._found.rank[carries] - self._start[carries] + bits
        return self._found._replace(rank=rank).samples()


class Contraction:
    """The way back: some marked samples' errors, before flags are known.

    Args:
      found: the errors of marked samples.
      start: as for `Expansion`.
      width: as for `Expansion`.

    Attributes:
      bits: uint8, what the samples carry.
      unsure: number of flags that the samples need.
    """

    def __init__(self, found: Errors, start: np.ndarray, width: np.ndarray):
        rank, room = found.rank, found.room
        used = (width > 0) & (room >= least_room(start, width))
        self._found, self._start, self._width = found, start, width
        self._carries = used & (rank >= start) & (rank < start + 2 * width)
        self._moved = used & (rank >= start + 2 * width)
        self._unsure = used & (rank >= room - width)
        self.bits = ((rank - start)[self._carries] & 1).astype(np.uint8)
        self.unsure = int(np.count_nonzero(self._unsure))

    def restore(self, flags: np.ndarray) -> np.ndarray:
        """Returns the original samples; `flags` are `unsure` many."""
        moved = self._moved.copy()
        moved[self._unsure] = flags == 0
        rank = self._found.rank - moved * self._width
        carries, start = self._carries, self._start
        rank[carries] = (rank[carries] + start[carries]) >> 1
        return self._found._replace(rank=rank).samples()
