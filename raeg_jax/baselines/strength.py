"""How strong an attack must be for the finished file to have a given PSNR."""

import math

from raeg_jax.image.metrics import mse_of_psnr

# Factor between one strength and the next at most: what is far off tells little.
_FACTOR = 4.0
# Between the bounds of the search: less makes no visible difference.
_NARROW = 1.005
# So often in a row, from the beginning, may hiding alone take more than is asked for, or find no
# room.
_COSTLY, _NO_ROOM = 2, 3


class Search:
    """Narrows down the strength for one image.

    The file's squared distance from the original has two parts: what the method does grows with the
    square of the strength, what hiding does depends on it less. That leads to strengths on both
    sides of the right one, between which their logarithms are interpolated.

    Args:
      psnr: asked for, in decibels.
      strength: to begin with.

    Attributes:
      strength: to be tried next.
      over: whether more tries make no sense.
    """

    def __init__(self, psnr: float, strength: float):
        self._asked, self.strength, self.over = mse_of_psnr(psnr), strength, False
        # Strengths next to the right one, and the errors of their files.
        self._low, self._high = (0.0, 0.0), (math.inf, math.inf)
        self._costly = self._no_room = 0

    def told(self, unmarked: float, marked: float) -> None:
        """Takes what came of the strength tried last.

        Args:
          unmarked: mean squared error before hiding, in squared pixel units.
          marked: after hiding; infinite where the payload found no room.
        """
        if marked > self._asked:
            self._high = min(self._high, (self.strength, marked))
        else:
            self._low = max(self._low, (self.strength, marked))
        room = self._asked - (marked - unmarked)
        if marked == math.inf:
            self._no_room += 1
        elif room <= 0:
            self._costly += 1
        (low, below), (high, above) = self._low, self._high
        if not (low and high < math.inf):
            factor = 1 / _FACTOR if marked == math.inf else 0.5
            if room > 0:
                factor = math.sqrt(room / unmarked) if unmarked else _FACTOR
            self.strength *= min(max(factor, 1 / _FACTOR), _FACTOR)
        else:
            share = 0.5
            if 0 < below < above < math.inf:
                share = math.log(self._asked / below) / math.log(above / below)
            # Off the ends, or one of them would hardly ever move.
            self.strength = low * (high / low) ** min(max(share, 0.1), 0.9)
        hopeless = self._costly >= _COSTLY or self._no_room >= _NO_ROOM
        self.over = (hopeless and not low) or high < _NARROW * low
