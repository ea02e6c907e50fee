"""Finding the payload of a picture, without a key."""

import contextlib

from raeg_jax.image_file import samples
from raeg_jax.image_file.read import ImageFile
from raeg_jax.payload.errors import PayloadError
from raeg_jax.payload.extraction import Extracted, extract_payload


def find(picture: ImageFile) -> Extracted:
    """Looks for a payload in a picture and beside it; soon ends where there is none.

    A viewer may have told a protected file since then how it is to be turned; so the raster is
    looked at as it is stored, too.

    Raises:
      PayloadError: as for `extract`.
    """
    try:
        return extract_payload(picture.pixels, picture.payload_chunk)
    except PayloadError:
        if picture.orientation != samples.UPRIGHT:
            with contextlib.suppress(PayloadError):
                return extract_payload(picture.as_stored().pixels, None)
        raise
