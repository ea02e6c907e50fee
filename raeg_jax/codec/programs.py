"""A generator's compiled programs, one for each shape and number of tiles."""

import collections
import time
from collections.abc import Callable
from typing import Any

import jax

from raeg_jax.invertible.chain import Chain

# So many are kept, the last used ones: each takes some 150 MB and 1,200 memory maps.
_KEPT = 2


class _Program:
    """A compiled function, and the seconds that compiling and running it take."""

    def __init__(self, function: Callable, args: tuple):
        start = time.perf_counter()
        # A function of its own, of which JAX forgets all when it is dropped.
        self._call = jax.jit(lambda *args: function(*args)).lower(*args).compile()
        self.compiling = time.perf_counter() - start
        self.running = 0.0

    def __call__(self, *args):
        start = time.perf_counter()
        result = jax.block_until_ready(self._call(*args))
        self.running = time.perf_counter() - start
        return result


class Programs:
    """A function of a generator and of arrays [B, h, w, ...] and [B, ...], compiled when needed.

    Attributes:
      function: may be compiled; its first argument is the generator.
    """

    def __init__(self, function: Callable):
        self.function = function
        # By generator, height and width of tiles, and their number.
        self._programs: collections.OrderedDict[tuple, _Program] = collections.OrderedDict()

    def __call__(self, chain: Chain, tiles: jax.Array, *others: Any) -> Any:
        """Calls the function.

        Args:
          chain: the generator.
          tiles: [B, h, w, C].
          *others: further arguments, pytrees of arrays.
        """
        batch, *size = tiles.shape[:3]
        key = _kind(chain, *size), batch
        program = self._programs.pop(key, None) or _Program(self.function, (chain, tiles, *others))
        self._programs[key] = program
        while len(self._programs) > _KEPT:
            self._programs.popitem(last=False)
        return program(chain, tiles, *others)

    def batch_size(self, chain: Chain, height: int, width: int, count: int, most: int) -> int:
        """How many tiles to take at a time where there are few: as many as take least time.

        Results of generators that are not portable may depend on it, so for them it is `most`.

        Args:
          chain: the generator.
          height: of the tiles, in pixels.
          width: of the tiles, in pixels.
          count: how many there are.
          most: the usual size of a batch.

        Returns:
          `count` or more: the size of a program that is there, or a new one's, a power of two.
        """
        if count >= most or not chain.portable:
            return most
        kind, new = _kind(chain, height, width), min(1 << (count - 1).bit_length(), most)
        there = {
            batch: program
            for (other, batch), program in list(self._programs.items())  # others may add to it
            if other == kind and new <= batch <= most
        }
        seconds = {batch: program.running for batch, program in there.items()}
        if there and new not in there:
            batch, program = max(there.items())
            seconds[new] = program.compiling + program.running * new / batch
        return min(seconds, key=seconds.__getitem__, default=new)


def _kind(chain, *size):
    """Returns what programs depend on but for the number of tiles."""
    leaves, structure = jax.tree.flatten(chain)
    return structure, tuple(map(jax.typeof, leaves)), *size
