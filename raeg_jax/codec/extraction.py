"""From a protected image to its payload, still locked."""

from typing import NamedTuple

import numpy as np

from raeg_jax.codec import hiding
from raeg_jax.codec.errors import NotAPayloadError, TamperedPixelsError


class Extracted(NamedTuple):
    """An image without the marks of hiding, and what it carried.

    Attributes:
      pixels: uint8 [H, W, 3].
      blob: the payload, or other bytes in its place; see `envelope`.
      in_pixels: whether it was hidden in the pixels.
    """

    pixels: np.ndarray
    blob: bytes
    in_pixels: bool


def extract(image: np.ndarray, blob: bytes | None) -> Extracted:
    """Finds the payload of an image; soon ends where there is none.

    Args:
      image: uint8 [H, W, 3].
      blob: what is kept beside it, or None.

    Raises:
      NotAPayloadError: nothing is hidden in the pixels, and there is nothing beside them.
      TamperedPixelsError: the same, but something was hidden before the pixels were changed.
    """
    try:
        pixels, hidden = hiding.extract(image)
        if blob in (None, hidden):
            return Extracted(pixels, hidden, True)
    except hiding.NotMarkedError as error:
        if blob is None and isinstance(error, hiding.ChangedError):
            raise TamperedPixelsError(
                "the pixels have been changed since the image was protected: take an untouched copy"
            ) from None
        if blob is None:
            raise NotAPayloadError(
                "no payload is in the pixels, and none is beside them: give an image as raeg wrote "
                "it (copies as JPEG, resized or cropped have lost it)"
            ) from None
    return Extracted(image, blob, False)
