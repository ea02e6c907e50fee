"""Finding the payload of a picture, without a key."""

from raeg_jax.codec.extraction import Extracted, extract
from raeg_jax.codec.picture import Picture


def find(picture: Picture) -> Extracted:
    """Looks for a payload in a picture and beside it; soon ends where there is none.

    Raises:
      PayloadError: as for `extract`.
    """
    return extract(picture.pixels, picture.payload_chunk)
