"""Originals of picture files, which a viewer may have turned since protection.

Viewers turn a picture by writing an EXIF orientation into its file; then it is turned when it is
read. So where nothing is found in the upright raster, the raster is tried as it is stored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from raeg_jax.image_file import samples
from raeg_jax.image_file.read import ImageFile
from raeg_jax.payload.errors import NotAPayloadError, PayloadError, TamperedPixelsError
from raeg_jax.payload.payload import SourceMode

if TYPE_CHECKING:
    # Imports JAX, which those who only look for a payload need not wait for.
    from raeg_jax.protection.recover import Recovered

_GREY = (SourceMode.GREY, SourceMode.GREY_ALPHA)
_ALPHA = (SourceMode.RGBA, SourceMode.GREY_ALPHA)
_OPAQUE = (
    "it has no alpha channel, as WebP leaves out one that is opaque everywhere: so is the "
    "recovered image's"
)
# A turned image looks as if it had never been protected, or as if it had been changed.
_PERHAPS_TURNED = (NotAPayloadError, TamperedPixelsError)


class PixelRecoverer(Protocol):
    """A `Recoverer`, or what also recovers images of other methods."""

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """See `Recoverer.shape`."""

    def recover(
        self, images: Sequence[np.ndarray], blobs: Sequence[bytes | None]
    ) -> list[Recovered | PayloadError]:
        """See `Recoverer.recover`."""


class Restored(NamedTuple):
    """The original of a protected picture.

    Attributes:
      picture: upright; alpha and metadata are those of the protected one.
      notes: on what differs from the original's file.
      recovered: what the recoverer returned for the pixels.
    """

    picture: ImageFile
    notes: tuple[str, ...]
    recovered: Recovered


def restore(
    recoverer: PixelRecoverer, pictures: Sequence[ImageFile]
) -> list[Restored | PayloadError]:
    """Recovers the originals of pictures.

    Args:
      recoverer: of the generator and key.
      pictures: protected, as `read_image_file` reads them.

    Returns:
      for each picture its original, or the error that says why it can't be recovered.
    """
    results = _recover(recoverer, pictures)
    again = [
        index
        for index, (picture, result) in enumerate(zip(pictures, results, strict=True))
        if picture.orientation != samples.UPRIGHT and isinstance(result, _PERHAPS_TURNED)
    ]
    stored = [pictures[index].as_stored() for index in again]
    for index, result in zip(again, _recover(recoverer, stored), strict=True):
        # Another error, such as another key, says more: there the payload was found.
        if not isinstance(result, _PERHAPS_TURNED):
            results[index] = result
    return results


def _recover(
    recoverer: PixelRecoverer, pictures: Sequence[ImageFile]
) -> list[Restored | PayloadError]:
    results = recoverer.recover(
        [picture.pixels for picture in pictures], [picture.payload_chunk for picture in pictures]
    )
    return [
        result if isinstance(result, PayloadError) else _restored(picture, result)
        for picture, result in zip(pictures, results, strict=True)
    ]


def _restored(protected: ImageFile, recovered: Recovered) -> Restored:
    alpha, notes = protected.alpha, protected.notes
    if alpha is None and recovered.mode in _ALPHA:
        alpha, notes = np.full(recovered.pixels.shape[:2], 255, np.uint8), (*notes, _OPAQUE)
    mode = "grey" if recovered.mode in _GREY else "rgb"
    picture = dataclasses.replace(protected, pixels=recovered.pixels, alpha=alpha, mode=mode)
    return Restored(picture, notes, recovered)
