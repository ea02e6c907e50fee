"""Chooses which errors carry bits, so that a message costs the least distortion.

Samples fall into `CLASSES` classes by the activity around them, and each class has its own way to
carry: the multiple histograms of Li et al. 2015 (IEEE TIFS 10(9)), which take the place of sorting.
The best choice minimises distortion - price * bits class by class, for some price of a bit.
"""

from typing import NamedTuple

import numpy as np

from raeg_jax.codec import expansion, prediction

CLASSES = 8
# The first level of class 1, so that the classes lie where the samples are.
BASES = range(1, prediction.LEVELS - CLASSES + 2)
# Ways to carry: lowest rank, number of ranks. The first: not at all.
WAYS = (
    (0, 0),
    *((start, 1) for start in (0, 1, 2, 3, 4, 5, 6, 8, 10, 12)),
    *((0, width) for width in (2, 3, 4, 6, 8)),
)

_STARTS, _WIDTHS = np.array(WAYS, np.int16).T
_LEAST_ROOM = [int(expansion.least_room(start, width)) for start, width in WAYS]
_ROOMS = max(_LEAST_ROOM) + 1
_RANKS = max(start + width for start, width in WAYS) + 1
_ENDS = 2 * max(width for _, width in WAYS) + 1
# Squared error per bit, in 1 / 32: from far less to far more than any sample costs.
_PRICES = np.unique([2**octave * (4 + part) // 4 for octave in range(20) for part in range(4)])


class Plan(NamedTuple):
    """How an image is marked.

    Attributes:
      weight: index of the other channels' weight in `prediction.WEIGHTS`.
      base: one of `BASES`.
      ways: for each class the index of its way to carry in `WAYS`.
    """

    weight: int
    base: int
    ways: tuple[int, ...]

    def expansion_of(self, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the lowest rank that carries and their number for samples of these levels."""
        way = np.array(self.ways)[_class_of(self.base)][level]
        return _STARTS[way], _WIDTHS[way]


class Choices(NamedTuple):
    """Plans that are best for some price of a bit; arrays of one length, but for `plan`.

    Attributes:
      room: int64, in bits, flags subtracted; an estimate.
      cost: int64, twice the squared error of all samples, if all the room is used.
      plan: [number, 2 + CLASSES], the plans' values.
    """

    room: np.ndarray
    cost: np.ndarray
    plan: np.ndarray

    def best(self, bits: int) -> tuple[Plan, int] | None:
        """Returns the plan that costs least for a message, and its room; None if all have less."""
        enough = np.flatnonzero(self.room >= bits)
        if not len(enough):
            return None
        # By the bit: what is left of the room will not be used. Integers: the same everywhere.
        index = enough[np.argmin((self.cost[enough] << 16) // np.maximum(self.room[enough], 1))]
        return self._plan(index), int(self.room[index])

    def most(self) -> Plan:
        """Returns the plan with the most room."""
        return self._plan(self.room.argmax())

    def _plan(self, index):
        weight, base, *ways = self.plan[index].tolist()
        return Plan(weight, base, tuple(ways))


class Statistics:
    """Counts the errors of an image, for all plans at once."""

    def __init__(self):
        shape = len(prediction.WEIGHTS), prediction.LEVELS, _ROOMS
        self._ranks = np.zeros((*shape, _RANKS), np.int64)
        self._ends = np.zeros((*shape, _ENDS), np.int64)

    def add(self, planes: np.ndarray, cells: np.ndarray) -> None:
        """Counts a part of an image.

        Args:
          planes: int16 [C, H, W].
          cells: positions in the flattened [H, W] that may be marked.
        """
        around = prediction.Surroundings(planes)
        for channel, plane in enumerate(planes):
            samples, level = plane.ravel()[cells], around.level(channel).ravel()[cells]
            # There is nothing to weigh where there is one channel.
            for index, weight in enumerate(prediction.WEIGHTS[: None if len(planes) > 1 else 1]):
                predicted = around.prediction(channel, weight).ravel()[cells]
                found = expansion.errors(samples, predicted)
                group = np.minimum(found.room, _ROOMS - 1) + _ROOMS * level.astype(np.int32)
                ends = np.minimum(found.room - 1 - found.rank, _ENDS - 1)
                _count(self._ranks[index], group, np.minimum(found.rank, _RANKS - 1))
                _count(self._ends[index], group, ends)

    def choices(self, counted: int = 1, of: int = 1) -> Choices:
        """Returns the best plans of all prices of a bit.

        Args:
          counted: size of the part of the image that was counted.
          of: size of the image.
        """
        found = []
        for weight in range(len(prediction.WEIGHTS)):
            room_of_level, cost_of_level = self._outcomes(weight)
            for base in BASES:
                edges = [0, *range(base, base + CLASSES - 1)]
                room = np.add.reduceat(room_of_level, edges)
                cost = np.add.reduceat(cost_of_level, edges)
                ways = (16 * cost - _PRICES[:, None, None] * room).argmin(-1)
                way = np.arange(CLASSES), ways
                same = np.full((len(_PRICES), 2), (weight, base))
                found.append((room[way].sum(-1), cost[way].sum(-1), np.hstack([same, ways])))
        room, cost, plan = map(np.concatenate, zip(*found, strict=True))
        return Choices(room * of // counted, cost * of // counted, plan)

    def _outcomes(self, weight):
        """Room in bits less flags, and twice the squared error: both [LEVELS, ways]."""
        room = np.zeros((prediction.LEVELS, len(WAYS)), np.int64)
        cost = np.zeros_like(room)
        for way, (start, width) in enumerate(WAYS):
            ranks = self._ranks[weight][:, _LEAST_ROOM[way] :].sum(1)
            ends = self._ends[weight][:, _LEAST_ROOM[way] :].sum(1)
            room[:, way] = ranks[:, start : start + width].sum(-1) - ends[:, : 2 * width].sum(-1)
            for step in range(width):
                cost[:, way] += ranks[:, start + step] * (step**2 + (step + 1) ** 2)
            cost[:, way] += 2 * width**2 * ranks[:, start + width :].sum(-1)
        return room, cost


def _class_of(base):
    return np.clip(np.arange(prediction.LEVELS) - base + 1, 0, CLASSES - 1)


def _count(table, group, column):
    index = group * table.shape[-1] + column
    table += np.bincount(index, minlength=table.size).reshape(table.shape)
