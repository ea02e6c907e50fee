"""What a protected image carries, so that its original comes back bit for bit."""

import dataclasses
import enum
import hashlib
import secrets

import numpy as np

from raeg_jax.codec.errors import TamperedPixelsError
from raeg_jax.codec.overflow import MAX_AMOUNT, Overflow

NONCE_SIZE = 12
GENERATOR_ID_SIZE = 8
DIGEST_SIZE = 32
# Far beyond any picture; sizes below it can be multiplied without care.
MAX_SIDE = 2**24 - 1
MAX_BATCH = 2**24 - 1
MAX_CODE = 2**32 - 1


class SourceMode(enum.IntEnum):
    """What the file was before it became RGB, so that it can be turned back into that.

    A palette counts as the colours in it, and comes back as them.
    """

    RGB = 0
    GREY = 1
    RGBA = 2
    GREY_ALPHA = 3


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Payload:
    """The content of a payload. A ValueError tells values that the format doesn't have.

    Attributes:
      nonce: 12 bytes drawn for the image, see `draw_nonce`; it also selects the token. That two
        images of a key have the same one is most unlikely, and `envelope` survives it.
      generator_id: 8 bytes, a hash of the generator's weights, or of another method's name.
      height: of the original, in pixels.
      width: of the original, in pixels.
      sha256: 32 bytes, `digest` of the original.
      tile: side of the square tiles that were protected one by one, in pixels; 0 where the image
        is one tile of any shape.
      batch: 0 where recovery is exact on any machine; else it is only so on the same machine, in
        batches of this size (a float conditioner).
      mode: of the original file.
      orientation: EXIF orientation of the original file, 1..8.
      codes: int64 [tiles, columns], 0..2^32-1: what the generator's stages need to know of each
        tile (in rows from the top, from left to right). The generator gives columns their meaning.
      overflow: the values that clipping cut off.
      auxiliary: what else the method needs that protected the image, such as the perturbation that
        it added; generators leave nothing.
    """

    nonce: bytes
    generator_id: bytes
    height: int
    width: int
    sha256: bytes
    tile: int = 0
    batch: int = 0
    mode: SourceMode = SourceMode.RGB
    orientation: int = 1
    codes: np.ndarray
    overflow: Overflow
    auxiliary: bytes = b""

    def __post_init__(self):
        for name, size in _SIZES.items():
            if len(getattr(self, name)) != size:
                raise ValueError(f"{name} has {len(getattr(self, name))} bytes, not {size}")
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}, not in {low}..{high}")
        object.__setattr__(self, "mode", SourceMode(self.mode))
        object.__setattr__(self, "codes", _checked_codes(self.codes, self.tiles))
        samples = 3 * self.height * self.width
        object.__setattr__(self, "overflow", _checked_overflow(*self.overflow, samples))

    @property
    def portable(self) -> bool:
        """Whether any machine recovers the original, in batches of any size."""
        return self.batch == 0

    @property
    def tiles(self) -> int:
        """Number of tiles; the last one of a row or column may overlap the one before."""
        if not self.tile:
            return 1
        return -(-self.height // self.tile) * -(-self.width // self.tile)


_SIZES = {"nonce": NONCE_SIZE, "generator_id": GENERATOR_ID_SIZE, "sha256": DIGEST_SIZE}
_RANGES = {
    "height": (1, MAX_SIDE),
    "width": (1, MAX_SIDE),
    "tile": (0, MAX_SIDE),
    "batch": (0, MAX_BATCH),
    "orientation": (1, 8),
}


def _checked_codes(codes, tiles):
    codes = np.asarray(codes, np.int64)
    if codes.ndim != 2 or len(codes) != tiles:
        raise ValueError(f"codes are {list(codes.shape)}, not [{tiles}, columns]")
    if codes.size and not (codes.min() >= 0 and codes.max() <= MAX_CODE):
        raise ValueError(f"codes are {codes.min()}..{codes.max()}, not in 0..{MAX_CODE}")
    return codes


def _checked_overflow(ranks, amounts, samples):
    ranks, amounts = np.asarray(ranks, np.int64), np.asarray(amounts, np.int64)
    if ranks.ndim != 1 or ranks.shape != amounts.shape:
        raise ValueError(f"{list(ranks.shape)} ranks for {list(amounts.shape)} amounts")
    if not len(ranks):
        return Overflow(ranks, amounts)
    if ranks[0] < 0 or ranks[-1] >= samples or np.any(np.diff(ranks) <= 0):
        raise ValueError(f"ranks don't increase within 0..{samples - 1}")
    if amounts.min() < 1 or amounts.max() > MAX_AMOUNT:
        raise ValueError(f"amounts are {amounts.min()}..{amounts.max()}, not in 1..{MAX_AMOUNT}")
    return Overflow(ranks, amounts)


def draw_nonce() -> bytes:
    """Draws 12 bytes from the operating system's random numbers.

    Two of 2^32 images get the same nonce with a probability of 2^-33.
    """
    return secrets.token_bytes(NONCE_SIZE)


def digest(image: np.ndarray) -> bytes:
    """SHA-256 of an image's size and samples: 32 bytes.

    Args:
      image: uint8 [H, W, 3].
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"expected uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    hashed = hashlib.sha256(b"raeg pixels %d %d " % image.shape[:2])
    hashed.update(np.ascontiguousarray(image))
    return hashed.digest()


def check_pixels(payload: Payload, image: np.ndarray) -> None:
    """Makes sure that a recovered image equals the original.

    Args:
      payload: the image's.
      image: uint8 [H, W, 3], recovered.

    Raises:
      TamperedPixelsError: it doesn't.
    """
    if digest(image) != payload.sha256:
        raise TamperedPixelsError(
            "the recovered pixels aren't the original's: the protected image has been changed "
            "since it was written, take an untouched copy"
        )
