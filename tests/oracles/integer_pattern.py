"""Learned patterns in plain NumPy integers, one photograph after the other.

Written from the docstrings, not from the code.
"""

import numpy as np

from tests.oracles.integer_gradient import divide


def directions(patterns, labels, height, width, draws):
    """The pattern of whole photographs of one size: int64 [B, H, W, 3], in sixteenths.

    Args:
      patterns: int8 [K, V, G, G, 3].
      labels: int [B].
      height: of each, in pixels.
      width: of each, in pixels.
      draws: int [B].
    """
    classes, variants, grid = patterns.shape[:3]
    rows, columns = weights(height, grid), weights(width, grid)
    found = []
    for label, draw in zip(labels, draws, strict=True):
        cells = patterns[label % classes, draw % variants].astype(np.int64)
        sums = np.tensordot(columns, np.tensordot(rows, cells, (1, 0)), (1, 1)).swapaxes(0, 1)
        found.append(divide(16 * sums, 2**16))
    return np.stack(found)


def weights(count, grid):
    """Of the cells in all samples of an axis: int64 [count, grid], sums of 256."""
    longest = max(count, grid)
    table = np.zeros((count, grid), np.int64)
    for i in range(count):
        heights = [
            max(0, 2 * longest - abs((2 * i + 1) * grid - (2 * k + 1) * count))
            // max(1, longest // 2**13)
            for k in range(grid)
        ]
        shares = [divide(256 * sum(heights[: k + 1]), sum(heights)) for k in range(grid)]
        table[i] = np.diff(shares, prepend=0)
    return table
