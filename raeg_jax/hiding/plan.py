"""Chooses which prediction errors carry bits, so that a message costs the least distortion.

Samples fall into `CLASSES` classes by the activity around them, and each class has expansion bins
of its own: the multiple histograms of Li et al. 2015 (IEEE TIFS 10(9)), which take the place of
sorting. The best choice minimises distortion - price * bits class by class, for some price of a
bit.
"""

from typing import NamedTuple

import numpy as np

from raeg_jax.hiding import expansion
from raeg_jax.hiding.expansion import min_headroom, prediction_errors

CLASSES = 8
# The first level of class 1, so that the classes lie where the samples are.
BASES = range(1, expansion.LEVELS - CLASSES + 2)
# Expansion bins: lowest rank that carries a bit, number of such ranks. Index 0 carries nothing.
BINS = (
    (0, 0),
    *((start, 1) for start in (0, 1, 2, 3, 4, 5, 6, 8, 10, 12)),
    *((0, width) for width in (2, 3, 4, 6, 8)),
)

_STARTS, _WIDTHS = np.array(BINS, np.int16).T
_MIN_HEADROOMS = min_headroom(_STARTS, _WIDTHS)
# Sizes of the histograms: larger values count as the last one.
_HEADROOMS = int(_MIN_HEADROOMS.max()) + 1
_RANKS = int((_STARTS + _WIDTHS).max()) + 1
_ENDS = 2 * int(_WIDTHS.max()) + 1
# Squared error per bit, in 1 / 32: from far less to far more than any sample costs.
_PRICES = np.unique([2**octave * (4 + part) // 4 for octave in range(20) for part in range(4)])


class Plan(NamedTuple):
    """How an image is marked.

    Attributes:
      weight: index of the other channels' weight in `prediction.WEIGHTS`.
      base: one of `BASES`.
      bins: for each class the index of its expansion bins in `BINS`.
    """

    weight: int
    base: int
    bins: tuple[int, ...]

    def bins_at(self, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns start and width of the expansion bins of samples at these levels: int16 each."""
        classes = np.clip(np.arange(expansion.LEVELS) - self.base + 1, 0, CLASSES - 1)
        index = np.array(self.bins)[classes][level]
        return _STARTS[index], _WIDTHS[index]


class Candidates(NamedTuple):
    """Plans that are the best ones at some price of a bit.

    Attributes:
      capacity: int64 [plans], an estimate of the message bits that fit.
      cost: int64 [plans], twice the squared error of all samples if all the capacity is used.
      values: int64 [plans, 2 + CLASSES]: weight, base and bins of each plan.
    """

    capacity: np.ndarray
    cost: np.ndarray
    values: np.ndarray

    def best(self, bits: int) -> tuple[Plan, int] | None:
        """Returns the cheapest plan for a message, and its capacity; None if it fits into none."""
        enough = np.flatnonzero(self.capacity >= bits)
        if not len(enough):
            return None
        # By the bit, as no more are embedded than needed. Integers are the same everywhere.
        cost_per_bit = (self.cost[enough] << 16) // np.maximum(self.capacity[enough], 1)
        index = enough[np.argmin(cost_per_bit)]
        return self._plan(index), int(self.capacity[index])

    def largest(self) -> Plan:
        """Returns the plan of the largest capacity."""
        return self._plan(self.capacity.argmax())

    def _plan(self, index: np.intp) -> Plan:
        weight, base, *bins = self.values[index].tolist()
        return Plan(weight, base, tuple(bins))


class ErrorHistograms:
    """Histograms of an image's prediction errors, from which all plans are judged at once."""

    def __init__(self):
        shape = len(expansion.WEIGHTS), expansion.LEVELS, _HEADROOMS
        self._ranks = np.zeros((*shape, _RANKS), np.int64)
        self._ends = np.zeros((*shape, _ENDS), np.int64)

    def add(self, planes: np.ndarray, positions: np.ndarray) -> None:
        """Counts a part of an image.

        Args:
          planes: int16 [C, H, W].
          positions: indices in the flattened [H, W] of the pixels that may be marked.
        """
        predictor = expansion.Predictor(planes)
        # One channel has no others to weigh.
        weights = expansion.WEIGHTS if len(planes) > 1 else expansion.WEIGHTS[:1]
        for channel, plane in enumerate(planes):
            samples = plane.ravel()[positions]
            level = predictor.level(channel).ravel()[positions].astype(np.int32)
            for index, weight in enumerate(weights):
                predicted = predictor.prediction(channel, weight).ravel()[positions]
                errors = prediction_errors(samples, predicted)
                group = np.minimum(errors.headroom, _HEADROOMS - 1) + _HEADROOMS * level
                _count(self._ranks[index], group, errors.rank)
                _count(self._ends[index], group, errors.headroom - 1 - errors.rank)

    def candidates(self, counted: int = 1, total: int = 1) -> Candidates:
        """Returns the best plans for all prices of a bit.

        Args:
          counted: size of the part of the image that was counted.
          total: size of the image.
        """
        capacities, costs, values = [], [], []
        for weight in range(len(expansion.WEIGHTS)):
            level_capacity, level_cost = self._capacity_and_cost(weight)
            for base in BASES:
                edges = [0, *range(base, base + CLASSES - 1)]
                capacity = np.add.reduceat(level_capacity, edges)
                cost = np.add.reduceat(level_cost, edges)
                bins = (16 * cost - _PRICES[:, None, None] * capacity).argmin(-1)
                chosen = np.arange(CLASSES), bins
                capacities.append(capacity[chosen].sum(-1))
                costs.append(cost[chosen].sum(-1))
                values.append(np.hstack([np.full((len(_PRICES), 2), (weight, base)), bins]))
        capacity, cost = np.concatenate(capacities), np.concatenate(costs)
        return Candidates(
            capacity * total // counted, cost * total // counted, np.concatenate(values)
        )

    def _capacity_and_cost(self, weight: int) -> tuple[np.ndarray, np.ndarray]:
        """Bits less flags, and twice the squared error: both int64 [LEVELS, len(BINS)]."""
        capacity = np.zeros((expansion.LEVELS, len(BINS)), np.int64)
        cost = np.zeros_like(capacity)
        for index, (start, width) in enumerate(BINS):
            ranks = self._ranks[weight][:, _MIN_HEADROOMS[index] :].sum(1)
            ends = self._ends[weight][:, _MIN_HEADROOMS[index] :].sum(1)
            expanded = ranks[:, start : start + width]
            capacity[:, index] = expanded.sum(-1) - ends[:, : 2 * width].sum(-1)
            # A rank grows by its distance from the start, and by one more for half of the bits.
            growth = np.arange(width)
            cost[:, index] = expanded @ (growth**2 + (growth + 1) ** 2)
            cost[:, index] += 2 * width**2 * ranks[:, start + width :].sum(-1)
        return capacity, cost


def _count(histogram: np.ndarray, group: np.ndarray, value: np.ndarray) -> None:
    bins = histogram.shape[-1]
    index = group * bins + np.minimum(value, bins - 1)
    histogram += np.bincount(index, minlength=histogram.size).reshape(histogram.shape)
