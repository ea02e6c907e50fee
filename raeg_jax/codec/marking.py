"""Finds the plan with which bits just fit into an image, and marks it; and the way back.

A plan is an estimate, for marks make their neighbours harder to predict. So it is tried, and where
bits are left over the next one has room to spare. Marks reach down from the top as far as needed.
"""

import math

import numpy as np

from raeg_jax.codec import header
from raeg_jax.codec.bands import PARTS, Band, FlagsError, Queue, rows_of, rows_until
from raeg_jax.codec.plan import Choices, Plan, Statistics

# Samples for each bit, among which the best are chosen, if the image is that large.
_CHOICE = 256
# Bands that are counted for a plan.
_COUNTED = 24


def room(image: np.ndarray, noise: np.ndarray) -> int:
    """Returns the number of bits that surely fit.

    Args:
      image: uint8 [H, W, C], the header's bits zero.
      noise: random bits, more than can fit: what fits depends a little on the bits themselves.
    """
    every = rows_of(*image.shape[:2])
    plan = _choices(image, every).most()
    queue, fits = Queue(noise), 0
    for rows in every:
        _, queue = _band(image, rows).mark(plan, len(rows), queue)
        if not len(queue.flags):
            fits = len(noise) - queue.left
    # Six times the largest deviation seen, that of flat images.
    return fits - 4 * math.isqrt(fits)


def mark(image: np.ndarray, bits: np.ndarray) -> np.ndarray | None:
    """Hides bits in an image.

    Args:
      image: uint8 [H, W, C], the header's bits zero.
      bits: uint8.

    Returns:
      The marked image with its header, or None if the bits don't fit.
    """
    if len(bits) > image.size:  # A sample carries one at most.
        return None
    height, width, channels = image.shape
    every = rows_of(height, width)
    near = 1
    while True:
        while near < len(every) and every[near].start * width * channels < _CHOICE * len(bits):
            near += 1
        choices = _choices(image, every[:near])
        needed = len(bits)
        while best := choices.best(needed):
            plan, expected = best
            marked, left = _try(image, plan, bits)
            if not left:
                return marked
            # Half of what was left over: the next plan may be better than it seems.
            needed += needed * left // (2 * len(bits))
            needed = max(needed, expected) + needed // 64 + 1
        if near == len(every):
            break
        near = min(4 * near, len(every))
    marked, left = _try(image, choices.most(), bits)
    return None if left else marked


def restore(image: np.ndarray, plan: Plan, parts: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Undoes `mark`.

    Args:
      image: uint8 [H, W, C], the header's bits zero.
      plan: from the header.
      parts: from the header.

    Returns:
      The original image, the header's bits still zero, and the bits with some zeros after them, or
      None if the image was changed.
    """
    height, width = image.shape[:2]
    end = rows_until(parts, height)
    original, hidden = image.copy(), []
    for rows in reversed(rows_of(height, width)):
        if rows.start < end:
            used = min(end, rows.stop) - rows.start
            try:
                planes = _band(image, rows).restore(plan, used, hidden)
            except FlagsError:
                return None
            original[rows.start : rows.stop] = planes.transpose(1, 2, 0)
    return original, np.concatenate(hidden[::-1])


def _band(image, rows):
    planes = image[rows.start : rows.stop].transpose(2, 0, 1).astype(np.int16)
    header_pixels = -(-header.BITS // image.shape[2])
    return Band(planes, max(0, header_pixels - rows.start * image.shape[1]))


def _choices(image: np.ndarray, bands: list[range]) -> Choices:
    """Counts the errors of an image's bands, or of some if there are many."""
    counted = bands[:: -(-len(bands) // _COUNTED)]
    statistics = Statistics()
    for rows in counted:
        band = _band(image, rows)
        statistics.add(band.planes, band.cells(band.height))
    return statistics.choices(sum(map(len, counted)), sum(map(len, bands)))


def _try(image: np.ndarray, plan: Plan, bits: np.ndarray) -> tuple[np.ndarray, int]:
    """Returns the marked image and the number of bits that found no place."""
    height, width = image.shape[:2]
    marked, queue = image.copy(), Queue(bits)
    for rows in rows_of(height, width):
        band = _band(image, rows)
        used = len(rows)
        if queue.left < band.planes.size:  # It may be the last band.
            enough = np.flatnonzero(band.room_by_row(plan) >= queue.left + queue.left // 64)
            used = int(enough[0]) + 1 if len(enough) else used
        while True:
            parts = PARTS * (rows.start + used - 1) // height + 1
            used = rows_until(parts, height) - rows.start
            planes, rest = band.mark(plan, used, queue)
            if not rest.left or used == len(rows):
                break
            used = min(len(rows), used + 1 + used * rest.left // queue.left)
        marked[rows.start : rows.stop] = planes.transpose(1, 2, 0)
        queue = rest
        if not queue.left:
            return header.with_low_bits(marked, header.pack(plan, parts)), 0
    return marked, queue.left
