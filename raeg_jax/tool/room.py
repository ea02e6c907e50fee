"""A bound on how many pixels and bytes of files are in memory."""

import contextlib
import os
import struct
import threading
from collections.abc import Callable
from typing import BinaryIO

from PIL import Image

from raeg_jax.files import MOST_BYTES, open_file
from raeg_jax.image_file.png import SIGNATURE
from raeg_jax.image_file.read import FORMATS, pillow_warnings

# What reading takes for each pixel: so many bytes of a file count as one.
BYTES_A_PIXEL = 10

# Signature, then length and name of the header, width and height.
_PNG_START = struct.Struct(">8s8xII")


class ClosedError(RuntimeError):
    """Nobody gets room any more."""


class Room:
    """Room for a number of pixels, or for one picture that has more. For any thread."""

    def __init__(self, size: int, tell: Callable[[], None]):
        """All of it is free.

        Args:
          size: number of pixels.
          tell: called when a thread begins to wait.
        """
        self._size, self._tell = size, tell
        self._used, self._waiting, self._closed = 0, 0, False
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """Number of threads that wait for room."""
        return self._waiting

    def take(self, pixels: int) -> None:
        """Takes room, as soon as there is enough.

        Raises:
          ClosedError: see `close`.
        """
        with self._changed:
            if self._lacks(pixels):
                self._waiting += 1
                self._tell()
                self._changed.wait_for(lambda: self._closed or not self._lacks(pixels))
                self._waiting -= 1
            if self._closed:
                raise ClosedError
            self._used += pixels

    def give(self, pixels: int) -> None:
        """Gives back what `take` took."""
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


def room_of(file: os.PathLike | str | BinaryIO) -> int:
    """Returns how much room reading an image takes, in pixels: for its samples and for its file.

    Args:
      file: a path, or an open file.

    Returns:
      0 for what is not read: no file, or one with more than `files.MOST_BYTES`.
    """
    named = isinstance(file, (str, os.PathLike))
    try:
        with open_file(file) if named else contextlib.nullcontext(file) as opened:
            size = opened.seek(0, os.SEEK_END)
            return _pixels(opened) + size // BYTES_A_PIXEL if size <= MOST_BYTES else 0
    except OSError:
        return 0


def _pixels(file: BinaryIO) -> int:
    """Returns how many pixels an image has by its header; 0 where the header can't be read."""
    # A PNG first: Pillow reads profiles and texts, of any size, and refuses some.
    file.seek(0)
    start = file.read(_PNG_START.size)
    if len(start) == _PNG_START.size and start.startswith(SIGNATURE):
        _, width, height = _PNG_START.unpack(start)
        if width * height <= 2 * Image.MAX_IMAGE_PIXELS:
            return width * height
    file.seek(0)
    try:
        with pillow_warnings(), Image.open(file, formats=FORMATS) as image:
            return image.width * image.height
    except Exception:
        # Whoever reads it tells what is wrong.
        return 0
