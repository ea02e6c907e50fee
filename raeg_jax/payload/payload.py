"""The payload: what a protected image carries, so that its original comes back bit for bit."""

import dataclasses
import enum
import hashlib
import secrets

import numpy as np

from raeg_jax.payload.coding import ByteReader, write_varint
from raeg_jax.payload.errors import DamagedPayloadError, NewerFormatError, TamperedPixelsError
from raeg_jax.payload.overflow import MAX_AMOUNT, Overflow, read_overflow, write_overflow

NONCE_SIZE = 12
GENERATOR_ID_SIZE = 8
_DIGEST_SIZE = 32
# Digest, flags, height, width, columns of side information and number of clipped values.
MIN_CONTENT_SIZE = _DIGEST_SIZE + 5
# Far beyond any image; products of two sizes below it fit into 64 bits.
MAX_SIDE = 2**24 - 1
MAX_BATCH = 2**24 - 1
MAX_SIDE_INFO = 2**32 - 1
# Bits of the flags; bits 0 to 2 are the orientation, bits 4 to 6 the source mode.
_SAME_MACHINE, _AUXILIARY = 8, 128


class SourceMode(enum.IntEnum):
    """What the file was before it became RGB, so that recovery can turn it back into that.

    A palette counts as the colours in it, and comes back as them.
    """

    RGB = 0
    GREY = 1
    RGBA = 2
    GREY_ALPHA = 3


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Payload:
    """The content of a payload. Values that the format doesn't have raise a ValueError.

    Attributes:
      nonce: 12 bytes drawn for the image, see `draw_nonce`; it also selects the token. Two images
        of a key hardly ever share one, and `seal` survives it.
      generator_id: 8 bytes, a hash of the generator's weights, or of another method's name.
      height: of the original, in pixels.
      width: of the original, in pixels.
      sha256: 32 bytes, `digest` of the original.
      tile: side in pixels of the square tiles that were protected one by one; 0 where the image
        is one tile of any shape.
      batch: 0 where any machine recovers exactly; else only the same machine does, in batches of
        this size (a float conditioner).
      mode: of the original file.
      orientation: EXIF orientation of the original file, 1..8.
      side_info: int64 [tiles, columns], 0..2^32-1: what the generator's stages need to know of each
        tile (in rows from the top, from left to right). The generator gives columns their meaning.
      overflow: the clipped values.
      auxiliary: what recovery needs of methods other than generators, such as the perturbation
        that they added.
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
    side_info: np.ndarray
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
        object.__setattr__(self, "side_info", _checked_side_info(self.side_info, self.tiles))
        samples = 3 * self.height * self.width
        object.__setattr__(self, "overflow", _checked_overflow(*self.overflow, samples))

    @property
    def portable(self) -> bool:
        """Whether any machine recovers the original, in batches of any size."""
        return self.batch == 0

    @property
    def tiles(self) -> int:
        """Number of tiles; the last one of a row or column may overlap the one before."""
        return _tile_count(self.height, self.width, self.tile)


_SIZES = {"nonce": NONCE_SIZE, "generator_id": GENERATOR_ID_SIZE, "sha256": _DIGEST_SIZE}
_RANGES = {
    "height": (1, MAX_SIDE),
    "width": (1, MAX_SIDE),
    "tile": (0, MAX_SIDE),
    "batch": (0, MAX_BATCH),
    "orientation": (1, 8),
}


def _tile_count(height: int, width: int, tile: int) -> int:
    return -(-height // tile) * -(-width // tile) if tile else 1


def _checked_side_info(table: np.ndarray, tiles: int) -> np.ndarray:
    table = np.asarray(table, np.int64)
    if table.ndim != 2 or len(table) != tiles:
        raise ValueError(f"side_info is {list(table.shape)}, not [{tiles}, columns]")
    if table.size and not (table.min() >= 0 and table.max() <= MAX_SIDE_INFO):
        raise ValueError(f"side_info is {table.min()}..{table.max()}, not in 0..{MAX_SIDE_INFO}")
    return table


def _checked_overflow(ranks: np.ndarray, amounts: np.ndarray, samples: int) -> Overflow:
    ranks, amounts = np.asarray(ranks, np.int64), np.asarray(amounts, np.int64)
    if ranks.ndim != 1 or ranks.shape != amounts.shape:
        raise ValueError(f"{list(ranks.shape)} ranks for {list(amounts.shape)} amounts")
    if len(ranks):
        if ranks[0] < 0 or ranks[-1] >= samples or np.any(np.diff(ranks) <= 0):
            raise ValueError(f"ranks don't increase within 0..{samples - 1}")
        if amounts.min() < 1 or amounts.max() > MAX_AMOUNT:
            raise ValueError(
                f"amounts are {amounts.min()}..{amounts.max()}, not in 1..{MAX_AMOUNT}"
            )
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
    sha256 = hashlib.sha256(b"raeg pixels %d %d " % image.shape[:2])
    sha256.update(np.ascontiguousarray(image).data)
    return sha256.digest()


def check_size(payload: Payload, pixels: np.ndarray) -> None:
    """Makes sure that a protected image has the size that it was protected with.

    Args:
      payload: the image's.
      pixels: uint8 [H, W, 3], protected.

    Raises:
      TamperedPixelsError: it has another one.
    """
    if pixels.shape[:2] != (payload.height, payload.width):
        raise TamperedPixelsError(
            f"the image has {pixels.shape[1]} x {pixels.shape[0]} pixels and had "
            f"{payload.width} x {payload.height} when it was protected: take an untouched copy"
        )


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


def write_content(payload: Payload) -> bytes:
    """Writes a payload but its nonce and generator id; docs/format.md has the table."""
    flags = payload.orientation - 1 | payload.mode << 4
    numbers = [payload.height, payload.width]
    if not payload.portable:
        flags |= _SAME_MACHINE
        numbers.append(payload.batch)
    numbers.append(payload.side_info.shape[1] << 1 | (payload.tile > 0))
    if payload.tile:
        numbers.append(payload.tile)
    numbers += payload.side_info.ravel().tolist()
    auxiliary = b""
    if payload.auxiliary:
        flags |= _AUXILIARY
        auxiliary = write_varint(len(payload.auxiliary)) + payload.auxiliary
    count = len(payload.overflow.ranks)
    parts = [payload.sha256, bytes([flags]), *map(write_varint, numbers), auxiliary]
    return b"".join(
        [*parts, write_varint(count), write_overflow(payload.overflow) if count else b""]
    )


def read_content(content: bytes, nonce: bytes, generator_id: bytes) -> Payload:
    """Undoes `write_content`, in memory proportional to the bytes given.

    Args:
      content: the bytes.
      nonce: of the payload.
      generator_id: of the payload.

    Raises:
      NewerFormatError: a source mode that this version doesn't know.
      DamagedPayloadError: any other fault.
    """
    try:
        return _read(content, nonce, generator_id)
    except NewerFormatError:
        raise
    except ValueError as error:
        raise DamagedPayloadError(
            f"the payload's content makes no sense ({error}): take an untouched copy of the image"
        ) from error


def _read(content: bytes, nonce: bytes, generator_id: bytes) -> Payload:
    reader = ByteReader(content)
    sha256, (flags,) = reader.take(_DIGEST_SIZE), reader.take(1)
    height, width = reader.next(), reader.next()
    if max(height, width) > MAX_SIDE:
        raise ValueError(f"a size of {height} x {width} pixels")
    batch = reader.next() if flags & _SAME_MACHINE else 0
    layout = reader.next()
    columns, tile = layout >> 1, reader.next() if layout & 1 else 0
    tiles = _tile_count(height, width, tile)
    # A number takes a byte at least: a wrong size allocates no large table.
    if tiles * columns > len(content):
        raise ValueError(f"{len(content)} bytes for the side information of {tiles} tiles")
    side_info = [reader.next() for _ in range(tiles * columns)]
    auxiliary = reader.take(reader.next()) if flags & _AUXILIARY else b""
    # There is only one way to write a payload.
    if flags & _AUXILIARY and not auxiliary:
        raise ValueError("no auxiliary data")
    count, rest = reader.next(), reader.rest()
    if rest and not count:
        raise ValueError(f"{len(rest)} bytes too many")
    empty = np.zeros(0, np.int64)
    return Payload(
        nonce=nonce,
        generator_id=generator_id,
        height=height,
        width=width,
        sha256=sha256,
        tile=tile,
        batch=batch,
        mode=_source_mode(flags >> 4 & 7),
        orientation=(flags & 7) + 1,
        side_info=np.array(side_info, np.int64).reshape(tiles, columns),
        overflow=read_overflow(rest, count) if count else Overflow(empty, empty),
        auxiliary=auxiliary,
    )


def _source_mode(value: int) -> SourceMode:
    try:
        return SourceMode(value)
    except ValueError:
        raise NewerFormatError(
            f"the image comes from a kind of file ({value}) that this version doesn't know: "
            "update raeg-jax"
        ) from None
