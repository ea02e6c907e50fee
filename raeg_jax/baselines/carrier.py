"""From a disguised original to an image that carries its payload."""

import dataclasses

import numpy as np

from raeg_jax.baselines.ids import method_id
from raeg_jax.baselines.method import Method
from raeg_jax.codec import hiding, overflow
from raeg_jax.codec.envelope import seal
from raeg_jax.codec.key import Key
from raeg_jax.codec.payload import Payload, SourceMode, digest


@dataclasses.dataclass(frozen=True)
class Source:
    """What a user gives.

    Attributes:
      image: uint8 [H, W, 3].
      label: its class.
      mode: of the original file.
      orientation: EXIF orientation of the original file, 1 to 8.
    """

    image: np.ndarray
    label: int
    mode: SourceMode = SourceMode.RGB
    orientation: int = 1


def mark(
    method: Method, source: Source, values: np.ndarray, auxiliary: bytes, key: Key, nonce: bytes
) -> tuple[np.ndarray, bytes]:
    """Clips, and hides the payload.

    Args:
      method: that made the values.
      source: the original.
      values: int32 [H, W, 3].
      auxiliary: what the method needs to undo them.
      key: the owner's.
      nonce: of the image, as `draw_nonce` gives it.

    Returns:
      uint8 [H, W, 3], and the payload.

    Raises:
      hiding.NoRoomError: the image can't hold it.
    """
    pixels, clipped = overflow.split(values)
    payload = Payload(
        nonce=nonce,
        generator_id=method_id(method.name),
        height=values.shape[0],
        width=values.shape[1],
        sha256=digest(source.image),
        mode=source.mode,
        orientation=source.orientation,
        codes=np.zeros((1, 0), np.int64),
        overflow=clipped,
        auxiliary=auxiliary,
    )
    blob = seal(payload, key)
    return hiding.embed(pixels, blob), blob
