"""Predicts the samples of one checkerboard colour of a channel from all other samples.

All four neighbours of a black sample are white. The rhombus predictor (Sachnev et al. 2009, IEEE
TCSVT 19(7), "Reversible watermarking algorithm using sorting and prediction") is their mean. Ours
adds a weight times the difference between the other channels' samples and their own rhombus means,
since edges and texture are mostly grey.

All of it is computed in integers, so that every machine predicts the same.
"""

import itertools

import numpy as np

# Weights of the other two channels' differences, in eighths.
WEIGHTS = (0, 2, 3, 4)
# Predictions are in 1 / STEPS of a sample's unit.
STEPS = 32
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

    def prediction(self, channel: int, weight: int) -> np.ndarray:
        """Predicts a channel: int16 [H, W] in 1 / `STEPS`, perhaps outside 0..255.

        Args:
          channel: index of the channel to predict.
          weight: one of `WEIGHTS`.
        """
        others = self._detail.sum(0, dtype=np.int16) - self._detail[channel]
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
        return _LEVEL_OF[ring + outer // 2 + others]

    def _shifted(self, channel: int | slice, offset: tuple[int, int]) -> np.ndarray:
        """Each sample's neighbour at an offset (rows, columns): [H, W] or [C, H, W]."""
        rows, columns = (slice(2 + distance, None) for distance in offset)
        return self._padded[channel, rows, columns][..., : self._height, : self._width]
