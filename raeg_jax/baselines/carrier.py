"""From a disguised original to an image that carries its payload."""

import dataclasses

import numpy as np

from raeg_jax import hiding
from raeg_jax.baselines.ids import method_id
from raeg_jax.baselines.method import Method
from raeg_jax.payload import overflow
from raeg_jax.payload.key import Key
from raeg_jax.payload.payload import Payload, SourceMode, digest
from raeg_jax.payload.seal import seal


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
    pixels, clipped = overflow.clip(values)
    payload = Payload(
        nonce=nonce,
        generator_id=method_id(method.name),
        height=values.shape[0],
        width=values.shape[1],
        sha256=digest(source.image),
        mode=source.mode,
        orientation=source.orientation,
        side_info=np.zeros((1, 0), np.int64),
        overflow=clipped,
        auxiliary=auxiliary,
    )
    blob = seal(payload, key)
    return hiding.embed(pixels, blob), blob
