"""Reading image files whose pixels are to come back bit for bit."""

import dataclasses
import io
import os
import pathlib

import numpy as np
from PIL import Image, UnidentifiedImageError

from raeg_jax.codec import chunk, left_out, oversize, samples, turning
from raeg_jax.codec.metadata import DAMAGED_EXIF, Metadata, read_metadata
from raeg_jax.codec.pillow_warnings import pillow_warnings
from raeg_jax.errors import UserError
from raeg_jax.files import RefusedFileError, read_file

# MPO, several JPEGs in one file, is read by the reader of JPEG.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
# Pillow loads only some of its readers by itself if formats are named.
Image.init()
MODES = ("rgb", "grey")
_ACCEPTED = [Image.OPEN[name][1] for name in FORMATS]
# So many bytes Pillow shows its readers.
_HEAD = 16


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """The pixels of an image file as they are to be seen, and what else is kept of it.

    Attributes:
      pixels: uint8 [H, W, 3], upright; a grey image's three channels are equal.
      alpha: uint8 [H, W], or None. Colours under alpha 0 are the file's.
      mode: "rgb", or "grey" for an image that is written with one channel.
      orientation: EXIF's, 1 to 8, of the file: `turning.stored(pixels, orientation)` is its raster.
      metadata: EXIF, colour profile and the like.
      format: of the file, by Pillow's name.
      notes: what was left out, each as the end of a sentence about the file.
      lost: names of what else of its metadata is not in `metadata`, for `left_out.note`.
      payload_chunk: the content of a PNG's `raEg` chunk, or None.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    mode: str = "rgb"
    orientation: int = turning.UPRIGHT
    metadata: Metadata = dataclasses.field(default_factory=Metadata)
    format: str | None = None
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    payload_chunk: bytes | None = None

    def __post_init__(self):
        pixels, alpha = self.pixels, self.alpha
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3:
            raise ValueError(f"pixels must be uint8 [H, W, 3], not {pixels.dtype} {pixels.shape}")
        if alpha is not None and (alpha.dtype != np.uint8 or alpha.shape != pixels.shape[:2]):
            raise ValueError(
                f"alpha must be uint8 {pixels.shape[:2]}, not {alpha.dtype} {alpha.shape}"
            )
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, not {self.mode!r}")

    def as_stored(self) -> "Picture":
        """The picture as if its file said nothing of how its raster is to be turned."""
        alpha, kept = self.alpha, self.metadata
        if kept.dpi and turning.swaps_axes(self.orientation):
            kept = dataclasses.replace(kept, dpi=kept.dpi[::-1])
        return dataclasses.replace(
            self,
            pixels=turning.stored(self.pixels, self.orientation),
            alpha=None if alpha is None else turning.stored(alpha, self.orientation),
            orientation=turning.UPRIGHT,
            metadata=kept,
        )


def read_picture(path: os.PathLike | str) -> Picture:
    """Reads an image file: JPEG, PNG, WebP, TIFF, BMP, GIF or PPM, still and with 8 bits.

    Of several photographs in one file (MPO, from phones) the first is taken, and a note says so.
    Lossy files are taken as their decoder gives them. Peak memory, with the result, is about 10
    bytes a pixel (13 with alpha) and the size of the file: 240 MB for 24 megapixels.

    Returns:
      the picture; its arrays may be read-only.

    Raises:
      UserError: the file can't be read, is damaged, or can't be converted to uint8 RGB exactly;
        names the file, the reason and the way out.
    """
    path = pathlib.Path(path)
    try:
        data = read_file(path, lambda head: head and check_kind(head, path))
    except RefusedFileError as error:
        raise UserError(f"{path} {error}: take it out of the folder") from None
    except FileNotFoundError:
        raise UserError(f"{path} doesn't exist: check the name") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, not an image: name a file in it") from None
    except PermissionError:
        raise UserError(f"{path} may not be read: change its permissions") from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): check the disk") from None
    return decode_picture(data, str(path))


def decode_picture(data: bytes, name: str, *, as_others: bool = False) -> Picture:
    """Does what `read_picture` does from the bytes of a file.

    Args:
      data: of the file.
      name: for messages.
      as_others: refuses, as other programs do, a PNG with a profile or text too large for Pillow.
    """
    if not data:
        raise UserError(f"{name} is empty: copy it again from where it came")
    check_kind(data, name)
    chunks, oversized = [], []
    if data.startswith(chunk.SIGNATURE):
        parts = list(chunk.chunks(data, name))
        if not as_others:
            parts, oversized = oversize.without(parts)
            if oversized:
                data = chunk.join(parts)
        chunks = [(kind, bytes(part)) for kind, part in parts if kind != b"IDAT"]
    first = dict(reversed(chunks))
    try:
        with pillow_warnings() as warned, Image.open(io.BytesIO(data), formats=FORMATS) as image:
            depth = first[b"IHDR"][8] if first else None
            samples.check(image, depth, name)
            kept, orientation, notes, lost = read_metadata(image, chunks)
            lost += left_out.unread(image, chunks, data)
            if getattr(image, "n_frames", 1) > 1:
                notes.append(f"only the first of its {image.n_frames} photographs is taken")
            pixels, alpha, mode = samples.planes(image, depth, first.get(b"tRNS"))
            source = image.format
        if warned and DAMAGED_EXIF not in notes:
            notes.append(f"it is damaged in part ({'; '.join(dict.fromkeys(warned))})")
    except (UserError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise UserError(
            f"{name} has more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels, as files made to exhaust "
            "memory have: scale it down or split it first"
        ) from None
    except UnidentifiedImageError:
        raise UserError(
            f"{name} is damaged, truncated or of a kind that Pillow can't read: copy it again from "
            "where it came, or convert it to PNG first"
        ) from None
    except Exception as error:
        # Pillow's parsers raise almost anything on damaged files, SyntaxError included.
        raise UserError(
            f"{name} is damaged or truncated ({str(error) or type(error).__name__}): copy it again "
            "from where it came"
        ) from error
    # Pillow turns TIFF files by itself.
    turn = turning.UPRIGHT if source == "TIFF" else orientation
    return Picture(
        pixels=turning.upright(pixels, turn),
        alpha=None if alpha is None else turning.upright(alpha, turn),
        mode=mode,
        orientation=orientation,
        metadata=kept,
        format=source,
        notes=(*oversized, *notes),
        lost=tuple(lost),
        payload_chunk=first.get(chunk.NAME),
    )


def check_kind(data: bytes, name: os.PathLike | str) -> None:
    """Stops at a file that doesn't begin as one of `FORMATS` does, before the rest is read.

    Raises:
      UserError: names the file and the formats.
    """
    head = data[:_HEAD].ljust(_HEAD, b"\0")
    if not any(accepts(head) for accepts in _ACCEPTED):
        raise UserError(
            f"{name} is not an image in JPEG, PNG, WebP, TIFF, BMP, GIF or PPM: convert it to PNG "
            "first"
        )


def same_samples(one: Picture, other: Picture) -> bool:
    """Whether all samples are equal, alpha's too; without alpha a picture is opaque everywhere."""
    alphas = [np.uint8(255) if picture.alpha is None else picture.alpha for picture in (one, other)]
    return np.array_equal(one.pixels, other.pixels) and bool(np.all(alphas[0] == alphas[1]))
