"""A bound on the pixels, and bytes of files, that are in memory at a time."""

import contextlib
import os
import struct
import threading
from collections.abc import Callable
from typing import BinaryIO

from PIL import Image

from raeg_jax.files import MAX_BYTES, open_file
from raeg_jax.image_file.png import SIGNATURE
from raeg_jax.image_file.read import FORMATS, pillow_warnings

# Reading takes about as much memory for a pixel as so many bytes of a file do.
BYTES_PER_PIXEL = 10

# Signature, then length and name of the header, width and height.
_PNG_START = struct.Struct(">8s8xII")


class BudgetClosedError(RuntimeError):
    """The budget is closed: the run ends."""


class PixelBudget:
    """A number of pixels that threads share; a larger picture is let in when it is alone.

    Args:
      size: number of pixels.
      on_wait: called when a thread begins to wait.
    """

    def __init__(self, size: int, on_wait: Callable[[], None]):
        self._size, self._on_wait = size, on_wait
        self._used, self._waiting, self._closed = 0, 0, False
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """Number of threads that wait for pixels."""
        return self._waiting

    def acquire(self, pixels: int) -> None:
        """Takes pixels, as soon as there are enough.

        Raises:
          BudgetClosedError: `close` has been called.
        """
        with self._changed:
            if self._lacks(pixels):
                self._waiting += 1
                self._on_wait()
                self._changed.wait_for(lambda: self._closed or not self._lacks(pixels))
                self._waiting -= 1
            if self._closed:
                raise BudgetClosedError
            self._used += pixels

    def release(self, pixels: int) -> None:
        """Gives back what `acquire` took."""
        with self._changed:
            self._used -= pixels
            self._changed.notify_all()

    def close(self) -> None:
        """Ends all waiting with an error."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _lacks(self, pixels: int) -> bool:
        return bool(self._used) and self._used + pixels > self._size


def pixel_cost(file: os.PathLike | str | BinaryIO) -> int:
    """Returns what reading an image takes of the budget, for its samples and for its file.

    Args:
      file: a path, or an open file.

    Returns:
      pixels; 0 for what is not read: no file, or one with more than `files.MOST_BYTES`.
    """
    try:
        with contextlib.ExitStack() as stack:
            if isinstance(file, (str, os.PathLike)):
                file = stack.enter_context(open_file(file))
            size = file.seek(0, os.SEEK_END)
            return _pixels(file) + size // BYTES_PER_PIXEL if size <= MAX_BYTES else 0
    except OSError:
        return 0


def _pixels(file: BinaryIO) -> int:
    """Returns how many pixels an image has by its header; 0 where the header can't be read."""
    # A PNG first: Pillow reads profiles and texts, of any size, and refuses some.
    file.seek(0)
    start = file.read(_PNG_START.size)
    if len(start) == _PNG_START.size and start.startswith(SIGNATURE):
        _, width, height = _PNG_START.unpack(start)
        if width * height <= 2 * (Image.MAX_IMAGE_PIXELS or 0):
            return width * height
    file.seek(0)
    try:
        with pillow_warnings(), Image.open(file, formats=FORMATS) as image:
            return image.width * image.height
    except Exception:
        # Reading the file will raise the error that names what is wrong.
        return 0
