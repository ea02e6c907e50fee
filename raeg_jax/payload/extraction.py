"""Extracts the payload of a protected image, still locked."""

from typing import NamedTuple

import numpy as np

from raeg_jax import hiding
from raeg_jax.payload.errors import NotAPayloadError, TamperedPixelsError


class Extracted(NamedTuple):
    """An image without the marks of hiding, and its payload.

    Attributes:
      pixels: uint8 [H, W, 3].
      blob: the payload, or other bytes in its place; see `seal`.
      in_pixels: whether it was hidden in the pixels.
    """

    pixels: np.ndarray
    blob: bytes
    in_pixels: bool


def extract_payload(image: np.ndarray, blob: bytes | None) -> Extracted:
    """Extracts the payload of an image; takes little time where there is none.

    Args:
      image: uint8 [H, W, 3].
      blob: the payload that is kept beside the image, or None.

    Raises:
      NotAPayloadError: nothing is hidden in the pixels, and there is nothing beside them.
      TamperedPixelsError: the same, but something was hidden before the pixels were changed.
    """
    try:
        pixels, hidden = hiding.extract(image)
    except hiding.NotMarkedError as error:
        if blob is not None:
            return Extracted(image, blob, in_pixels=False)
        if isinstance(error, hiding.ChangedError):
            raise TamperedPixelsError(
                "the pixels have been changed since the image was protected: take an untouched copy"
            ) from None
        raise NotAPayloadError(
            "no payload is in the pixels, and none is beside them: give an image as raeg wrote "
            "it (copies as JPEG, resized or cropped have lost it)"
        ) from None
    if blob is None or blob == hidden:
        return Extracted(pixels, hidden, in_pixels=True)
    return Extracted(image, blob, in_pixels=False)
