"""The search for the scale of a change with which the protected file has a given PSNR."""

import math

from raeg_jax.image.metrics import mse_of_psnr

# Greatest factor between one scale and the next: what is far off tells little.
_MAX_FACTOR = 4.0
# The search ends when the bounds are this near: less makes no visible difference.
_NARROW = 1.005
# The search ends when hiding alone took more than the whole distance, or found no room, so often
# from the beginning.
_MAX_COSTLY, _MAX_NO_ROOM = 2, 3


class Search:
    """Narrows down the scale for one image.

    The file's squared distance from the original has two parts: what the method does grows with the
    square of the scale, what hiding does depends on it less. That leads to scales on both sides of
    the right one, between which their logarithms are interpolated.

    Args:
      psnr: requested, in decibels.
      scale: to begin with.

    Attributes:
      scale: to be tried next.
      over: whether more tries make no sense.
    """

    def __init__(self, psnr: float, scale: float = 1.0):
        self._requested, self.scale, self.over = mse_of_psnr(psnr), scale, False
        # The nearest scales on both sides, and the errors of their files.
        self._low, self._high = (0.0, 0.0), (math.inf, math.inf)
        self._costly = self._no_room = 0

    def update(self, unmarked: float, marked: float) -> None:
        """Takes the result of the scale tried last.

        Args:
          unmarked: mean squared error before hiding, in squared pixel units.
          marked: after hiding; infinite where the payload found no room.
        """
        if marked > self._requested:
            self._high = min(self._high, (self.scale, marked))
        else:
            self._low = max(self._low, (self.scale, marked))
        left = self._requested - (marked - unmarked)
        if marked == math.inf:
            self._no_room += 1
        elif left <= 0:
            self._costly += 1
        (low, below), (high, above) = self._low, self._high
        if low and high < math.inf:
            share = 0.5
            if 0 < below < above < math.inf:
                share = math.log(self._requested / below) / math.log(above / below)
            # Off the ends, or one of them would hardly ever move.
            self.scale = low * (high / low) ** min(max(share, 0.1), 0.9)
        else:
            factor = 1 / _MAX_FACTOR if marked == math.inf else 0.5
            if left > 0:
                factor = math.sqrt(left / unmarked) if unmarked else _MAX_FACTOR
            self.scale *= min(max(factor, 1 / _MAX_FACTOR), _MAX_FACTOR)
        hopeless = self._costly >= _MAX_COSTLY or self._no_room >= _MAX_NO_ROOM
        self.over = (hopeless and not low) or high < _NARROW * low
