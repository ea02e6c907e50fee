"""Finding the payload of a picture, without a key."""

from typing import NamedTuple

from raeg_jax.codec import hiding
from raeg_jax.codec.picture import Picture


class Found(NamedTuple):
    """A payload as it was found, or bytes in its place.

    Attributes:
      blob: see `codec.envelope`.
      in_pixels: whether it was hidden in the pixels and not in a PNG chunk.
    """

    blob: bytes
    in_pixels: bool


def find(picture: Picture) -> Found | None:
    """Looks for a payload in a picture and beside it; soon ends where there is none.

    Raises:
      hiding.ChangedError: the pixels were changed after a payload was hidden in them.
    """
    chunk = picture.payload_chunk
    try:
        hidden = hiding.extract(picture.pixels)[1]
    except hiding.NotMarkedError as error:
        if chunk is None and isinstance(error, hiding.ChangedError):
            raise
        hidden = None
    if chunk is not None:
        return Found(chunk, chunk == hidden)
    return None if hidden is None else Found(hidden, True)
