"""A bound on how many pixels are in memory."""

import os
import struct
import threading
from collections.abc import Callable

from PIL import Image

from raeg_jax.codec.chunk import SIGNATURE
from raeg_jax.codec.picture import FORMATS
from raeg_jax.codec.pillow_warnings import pillow_warnings

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


def pixels_of(file) -> int:
    """Returns how many pixels an image has by its header; 0 where it can't be told.

    Args:
      file: a path, or an open file.
    """
    try:
        with pillow_warnings(), Image.open(file, formats=FORMATS) as image:
            return image.width * image.height
    except Image.DecompressionBombError:
        return 0
    except Exception:
        # Whoever reads it tells what is wrong, or leaves out what Pillow refuses in a PNG.
        return _pixels_of_png(file)


def _pixels_of_png(file) -> int:
    try:
        with open(file, "rb") if isinstance(file, (str, os.PathLike)) else file as opened:
            opened.seek(0)
            signature, width, height = _PNG_START.unpack(opened.read(_PNG_START.size))
    except (OSError, struct.error):
        return 0
    return width * height if signature == SIGNATURE else 0
