"""Predicts half of a channel's samples from all the others, and tells how far to trust it.

The samples of a channel are a checkerboard: all four neighbours of a black one are white. The
rhombus predictor (Sachnev et al. 2009, IEEE TCSVT 19(7), "Reversible watermarking algorithm using
sorting and prediction") is their mean. Ours adds what the other channels know: the difference of
their own sample from their rhombus, times a weight, for edges and texture are mostly grey.

Integers only, so that every machine predicts the same.
"""

import numpy as np

# Of the difference that the other two channels show, in eighths.
WEIGHTS = (0, 2, 3, 4)
# Predictions have this many steps per unit of a sample.
STEPS = 32
LEAST_SIDE = 3

# Levels of activity: two an octave.
_BORDERS = np.sort(np.concatenate([2 << np.arange(11), 3 << np.arange(10)]))
_MOST_ACTIVITY = 4080
_LEVEL = np.searchsorted(_BORDERS, np.arange(_MOST_ACTIVITY + 1), side="right").astype(np.uint8)
LEVELS = len(_BORDERS) + 1


class Surroundings:
    """What a sample of a channel may know: its neighbours, and the other channels.

    No method's result at a sample depends on that sample or on others of its colour and channel.

    Args:
      planes: int16 [C, H, W] of 0..255; both sides at least `LEAST_SIDE`.
    """

    def __init__(self, planes: np.ndarray):
        # Reflection keeps colours: padding with the edge would show a sample to itself.
        self._padded = np.pad(planes, ((0, 0), (2, 2), (2, 2)), "reflect")
        self._height, self._width = planes.shape[1:]
        self._rhombus = sum(self._shifted(..., *place) for place in _NEIGHBOURS)
        # Four times what each sample differs from its rhombus.
        self._detail = 4 * planes - self._rhombus

    def prediction(self, channel: int, weight: int) -> np.ndarray:
        """Predicts a channel: int16 [H, W] in 1 / `STEPS`, maybe outside of 0..255.

        Args:
          channel: to be predicted.
          weight: one of `WEIGHTS`.
        """
        others = self._detail.sum(0, dtype=np.int16) - self._detail[channel]
        return 8 * self._rhombus[channel] + np.int16(weight) * others

    def level(self, channel: int) -> np.ndarray:
        """Local activity: uint8 [H, W] below `LEVELS`, about proportional to log |error|.

        Sums differences between samples of the other colour, as far as two away, and those of the
        other channels from their rhombus.

        Args:
          channel: to be predicted.
        """
        up, down, left, right = (self._shifted(channel, *place) for place in _NEIGHBOURS)
        ring = _distance(up, left) + _distance(left, down)
        ring += _distance(down, right) + _distance(right, up)
        outer = sum(
            _distance(near, self._shifted(channel, *far))
            for near, places in zip((up, down, left, right), _BEHIND, strict=True)
            for far in places
        )
        activity = ring + outer // 2
        for other in range(len(self._detail)):
            if other != channel:
                activity += np.abs(self._detail[other])
        return _LEVEL[activity]

    def _shifted(self, channel, down, right):
        rows, columns = slice(2 + down, None), slice(2 + right, None)
        return self._padded[channel, rows, columns][..., : self._height, : self._width]


_NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1))
# For each neighbour two samples of its colour further out.
_BEHIND = (
    ((-1, -2), (-1, 2)),
    ((1, -2), (1, 2)),
    ((-2, -1), (2, -1)),
    ((-2, 1), (2, 1)),
)


def _distance(first, second):
    return np.abs(first - second)
