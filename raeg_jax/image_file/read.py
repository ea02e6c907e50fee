"""Reading image files whose pixels are to come back bit for bit."""

import contextlib
import dataclasses
import io
import os
import struct
import threading
import warnings
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from raeg_jax.errors import UserError
from raeg_jax.files import MAX_BYTES, RefusedFileError, open_file, read_file
from raeg_jax.image_file import png, samples
from raeg_jax.image_file.metadata import DAMAGED_EXIF, Metadata, read_metadata
from raeg_jax.image_file.samples import UPRIGHT

# MPO, several JPEGs in one file, is read by the reader of JPEG.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
# Pillow loads only some of its readers by itself if formats are named.
Image.init()
_MODES = ("rgb", "grey")
_ACCEPTED = [accepts for name in FORMATS if (accepts := Image.OPEN[name][1])]
# So many bytes Pillow shows its readers.
_HEAD = 16
# Reading takes about as much memory for a pixel as so many bytes of a file do.
BYTES_PER_PIXEL = 10
# Signature, then length and name of the header, width and height.
_PNG_START = struct.Struct(">8s8xII")

_PILLOW = os.path.dirname(Image.__file__)
_lock = threading.Lock()
# By thread, the warnings of the file that it reads.
_messages: dict[int, list[str]] = {}
_catching = contextlib.ExitStack()


@dataclasses.dataclass(frozen=True, eq=False)
class ImageFile:
    """The pixels of an image file as they are to be seen, and what else is kept of it.

    Attributes:
      pixels: uint8 [H, W, 3], upright; a grey image's three channels are equal.
      alpha: uint8 [H, W], or None. Colours under alpha 0 are the file's.
      mode: "rgb", or "grey" for an image that is written with one channel.
      orientation: EXIF's, 1 to 8, of the file: `samples.stored(pixels, orientation)` is its raster.
      metadata: EXIF, colour profile and the like.
      format: of the file, by Pillow's name.
      notes: what was left out, each as the end of a sentence about the file.
      lost: names of what else of its metadata is not in `metadata`, for `metadata.loss_note`.
      payload_chunk: the content of a PNG's `raEg` chunk, or None.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    mode: str = "rgb"
    orientation: int = UPRIGHT
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
        if self.mode not in _MODES:
            raise ValueError(f"mode must be one of {', '.join(_MODES)}, not {self.mode!r}")

    def as_stored(self) -> "ImageFile":
        """The image as if its file said nothing of how its raster is to be turned."""
        alpha, metadata = self.alpha, self.metadata
        if metadata.dpi and samples.swaps_axes(self.orientation):
            metadata = dataclasses.replace(metadata, dpi=metadata.dpi[::-1])
        return dataclasses.replace(
            self,
            pixels=samples.stored(self.pixels, self.orientation),
            alpha=None if alpha is None else samples.stored(alpha, self.orientation),
            orientation=UPRIGHT,
            metadata=metadata,
        )


def read_image_file(path: os.PathLike | str) -> ImageFile:
    """Reads an image file: JPEG, PNG, WebP, TIFF, BMP, GIF or PPM, still and with 8 bits.

    Of several photographs in one file (MPO, from phones) the first is taken, and a note says so.
    Lossy files are taken as their decoder gives them. Peak memory, with the result, is about 10
    bytes a pixel (13 with alpha) and the size of the file: 240 MB for 24 megapixels.

    Returns:
      the image file; its arrays may be read-only.

    Raises:
      UserError: the file can't be read, is damaged, or can't be converted to uint8 RGB exactly;
        names the file, the reason and the way out.
    """

    def look(head: bytes) -> None:
        if head:
            check_format(head, path)

    try:
        data = read_file(path, look)
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
    return decode_image_file(data, str(path))


def decode_image_file(data: bytes, name: str, *, refuse_oversized: bool = False) -> ImageFile:
    """Does what `read_image_file` does from the bytes of a file.

    Args:
      data: of the file.
      name: for messages.
      refuse_oversized: as other programs do, refuse a PNG with a profile or text too large for
        Pillow, instead of leaving that out.
    """
    if not data:
        raise UserError(f"{name} is empty: copy it again from where it came")
    check_format(data, name)
    chunks: list[tuple[bytes, bytes]] = []
    oversized: list[str] = []
    if data.startswith(png.SIGNATURE):
        parts: list[png.Chunk] = list(png.read_chunks(data, name))
        if not refuse_oversized:
            parts, oversized = png.without_oversized(parts)
            if oversized:
                data = png.join_chunks(parts)
        chunks = [(kind, bytes(part)) for kind, part in parts if kind != b"IDAT"]
    first = dict(reversed(chunks))
    try:
        with pillow_warnings() as warned, Image.open(io.BytesIO(data), formats=FORMATS) as image:
            depth = first[b"IHDR"][8] if first else None
            samples.check_exact(image, depth, name)
            metadata, orientation, notes, lost = read_metadata(image, chunks, data)
            if (frames := getattr(image, "n_frames", 1)) > 1:
                notes.append(f"only the first of its {frames} photographs is taken")
            pixels, alpha, mode = samples.planes(image, depth, first.get(b"tRNS"))
            source = image.format
        if warned and DAMAGED_EXIF not in notes:
            notes.append(f"it is damaged in part ({'; '.join(dict.fromkeys(warned))})")
    except (UserError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise UserError(
            f"{name} has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, as files made to "
            "exhaust memory have: scale it down or split it first"
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
    turn = UPRIGHT if source == "TIFF" else orientation
    return ImageFile(
        pixels=samples.upright(pixels, turn),
        alpha=None if alpha is None else samples.upright(alpha, turn),
        mode=mode,
        orientation=orientation,
        metadata=metadata,
        format=source,
        notes=(*oversized, *notes),
        lost=tuple(lost),
        payload_chunk=first.get(png.PAYLOAD_CHUNK),
    )


def check_format(data: bytes, name: os.PathLike | str) -> None:
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


def same_samples(one: ImageFile, other: ImageFile) -> bool:
    """Whether all samples are equal, alpha's too; without alpha an image is opaque everywhere."""
    alphas = [np.uint8(255) if each.alpha is None else each.alpha for each in (one, other)]
    return np.array_equal(one.pixels, other.pixels) and bool(np.all(alphas[0] == alphas[1]))


@contextlib.contextmanager
def pillow_warnings() -> Iterator[list[str]]:
    """Collects the messages of Pillow's warnings in this thread while the block lasts.

    Python's `catch_warnings` catches those of all threads, which read files at the same time: so
    the first thread sets it, the last one takes it back, and each gets its own. Warnings that
    aren't Pillow's are shown as ever. That of large images is dropped: they may be twice as large
    before Pillow refuses them.
    """
    thread = threading.get_ident()
    messages: list[str] = []
    with _lock:
        if not _messages:
            _catch_warnings()
        outer, _messages[thread] = _messages.get(thread), messages
    try:
        yield messages
    finally:
        with _lock:
            if outer is None:
                del _messages[thread]
            else:
                _messages[thread] = outer
            if not _messages:
                _catching.close()


def _catch_warnings() -> None:
    _catching.enter_context(warnings.catch_warnings())
    warnings.filterwarnings("always", module=r"PIL\.")
    show = warnings.showwarning

    def collect(message, category, filename, lineno, file=None, line=None):
        messages = _messages.get(threading.get_ident())
        if messages is None or not filename.startswith(_PILLOW):
            show(message, category, filename, lineno, file, line)
        elif not issubclass(category, Image.DecompressionBombWarning):
            messages.append(" ".join(str(message).split()))

    warnings.showwarning = collect


def pixel_cost(file: os.PathLike | str | BinaryIO) -> int:
    """Returns what reading an image takes of memory, for its samples and for its file, in pixels.

    Args:
      file: a path, or an open file.

    Returns:
      pixels; 0 for what is not read: no file, or one with more than `files.MAX_BYTES`.
    """
    try:
        with contextlib.ExitStack() as stack:
            if isinstance(file, (str, os.PathLike)):
                file = stack.enter_context(open_file(file))
            size = file.seek(0, os.SEEK_END)
            return _pixels(file) + size // BYTES_PER_PIXEL if size <= MAX_BYTES else 0
    except OSError:
        return 0


def _pixels(file: BinaryIO) -> int:
    """Returns how many pixels an image has by its header; 0 where the header can't be read."""
    # A PNG first: Pillow reads profiles and texts, of any size, and refuses some.
    file.seek(0)
    start = file.read(_PNG_START.size)
    if len(start) == _PNG_START.size and start.startswith(png.SIGNATURE):
        _, width, height = _PNG_START.unpack(start)
        if width * height <= 2 * (Image.MAX_IMAGE_PIXELS or 0):
            return width * height
    file.seek(0)
    try:
        with pillow_warnings(), Image.open(file, formats=FORMATS) as image:
            return image.width * image.height
    except Exception:
        # Reading the file will raise the error that names what is wrong.
        return 0
