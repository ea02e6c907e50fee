"""Reversible data hiding: a message goes into an image's samples, and both come back exactly.

Prediction-error expansion in two interleaved layers a channel (Sachnev et al. 2009, see
`prediction` and `expansion`), with errors chosen by class (Li et al. 2015, see `plan`). Any
lossless file format keeps the message. The first 64 samples' lowest bits hold the plan (see
`header`); what they were is hidden with the message (see `body`).

Large images are marked band by band (see `bands`), as many as the message needs: beside the image
and a few copies that takes about 100 MB, whatever the image's size.
"""

import numpy as np

from raeg_jax.codec import body, header, marking, prediction

_BLANK = bytes(header.BITS // 8)


class NoRoomError(ValueError):
    """The message does not fit into the image."""


class NotMarkedError(ValueError):
    """No message is hidden in the image."""


class ChangedError(NotMarkedError):
    """A message was hidden in the image, but the image is not as it was then.

    One in 65,536 images without a message looks like this too.
    """


def capacity(image: np.ndarray) -> int:
    """Returns the length in bytes of messages that surely fit, maybe 0.

    Args:
      image: uint8 [H, W, C], C 1 or 3.
    """
    if not _usable(image):
        return 0
    noise = np.unpackbits(body.noise(image.size // 8 + 1))
    bits = marking.room(header.with_low_bits(image, _BLANK), noise)
    return max(0, bits // 8 - body.MOST_BYTES)


def embed(image: np.ndarray, message: bytes) -> np.ndarray:
    """Hides a message.

    Args:
      image: uint8 [H, W, C], C 1 or 3; not changed.
      message: any bytes.

    Returns:
      uint8 [H, W, C], the marked image; the same on all machines.

    Raises:
      NoRoomError: the message does not fit.
    """
    if _usable(image):
        blank = header.with_low_bits(image, _BLANK)
        marked = marking.mark(blank, body.pack(image, message))
        if marked is not None:
            return marked
    height, width = image.shape[:2]
    raise NoRoomError(f"an image of {width} x {height} pixels has no room for {len(message)} bytes")


def extract(marked: np.ndarray) -> tuple[np.ndarray, bytes]:
    """Undoes `embed`.

    Args:
      marked: uint8 [H, W, C], C 1 or 3; not changed.

    Returns:
      The image, uint8 [H, W, C], and the message, exactly as they were.

    Raises:
      ChangedError: some sample is not as `embed` left it.
      NotMarkedError: it was not made by `embed`.
    """
    head = header.unpack(header.read_low_bits(marked)) if _usable(marked) else None
    if head is None:
        raise NotMarkedError("no message is hidden in this image")
    restored = marking.restore(header.with_low_bits(marked, _BLANK), *head)
    found = body.unpack(*restored) if restored else None
    if found is None:
        raise ChangedError("this image was changed after a message was hidden in it")
    return found


def _usable(image):
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"needs uint8 [H, W, 1 or 3], not {image.dtype} {list(image.shape)}")
    return min(image.shape[:2]) >= prediction.LEAST_SIDE and image.size > header.BITS
