"""Decodes image files of any kind to uint8 RGB arrays."""

import io
import os

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from raeg_jax.files import read_file
from raeg_jax.image_file import samples

# Pillow's other formats either run external programs (EPS) or hold no photographs.
_NAMES = ("JPEG", "MPO", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "JPEG2000", "AVIF")
Image.init()
FORMATS = tuple(name for name in _NAMES if name in Image.OPEN)
# Larger images are stored at reduced size, so that reading them later costs little.
MAX_STORED_PIXELS = 2**24
STORED_SIDE = 1024
# Offset of the byte in a PNG's header that says how many bits a sample has.
_PNG_DEPTH = 24
_TGA_TYPES = (1, 2, 3, 9, 10, 11)


class UnreadableImageError(ValueError):
    """The bytes aren't an image that can be decoded; the message says why."""


def read_image(path: os.PathLike | str) -> bytes:
    """Reads an image file, unless its first bytes show that it isn't an image.

    Raises:
      UnreadableImageError: no format in `FORMATS` begins like this.
      OSError: as for `files.read_file`.
    """
    return read_file(path, _check_kind)


def _check_kind(head: bytes) -> None:
    for name in FORMATS:
        accept = Image.OPEN[name][1]
        # TGA files have no mark of their own, but few kinds of content.
        if accept(head) if accept else head[2:3] and head[1] < 2 and head[2] in _TGA_TYPES:
            return
    raise UnreadableImageError("not an image")


def to_rgb(data: bytes, at_least: int = 0) -> np.ndarray:
    """Decodes an image file.

    Grey, palette and CMYK images are converted, 16-bit and float ones scaled to 0..255
    (not clipped), transparent ones laid on white, EXIF rotations applied; of several
    frames the first is taken.

    Args:
      data: the bytes of the file.
      at_least: where positive, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as
        both sides keep at least so many pixels: much faster for large photographs.

    Returns:
      uint8 [H, W, 3].

    Raises:
      UnreadableImageError: broken or truncated, not an image, or a decompression bomb.
    """
    return np.asarray(_open(data, at_least)[0])


def fit(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes the shorter side to `size` pixels (Lanczos) and crops the centre.

    Args:
      image: uint8 [H, W, 3].
      size: side of the result in pixels.

    Returns:
      uint8 [size, size, 3]; the same values where the image already has that shape.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    # Only the square in the middle is resized: an extreme panorama costs no more than a square.
    square = (left, top, left + side, top + side)
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS, box=square)
    return np.asarray(resized)


def load(data: bytes, size: int) -> np.ndarray:
    """Decodes the bytes of an image file and fits it: uint8 [size, size, 3]."""
    # Twice the size leaves the resampling filter enough to work on.
    return fit(to_rgb(data, at_least=2 * size), size)


def storable(data: bytes) -> bytes:
    """Returns bytes that any reader decodes to the same picture as `to_rgb(data)`.

    An 8-bit upright JPEG or PNG in grey or RGB stays untouched; anything else becomes an RGB
    PNG. Images above 2^24 pixels are reduced to a shorter side of 1024 pixels.

    Args:
      data: the bytes of an image file.

    Raises:
      UnreadableImageError: as for `to_rgb`.
    """
    image, plain = _open(data, at_least=0, reduce=True)
    if plain:
        return data
    return encode_png(np.asarray(image))


def encode_png(image: np.ndarray) -> bytes:
    """Encodes an image as the bytes of an RGB PNG file.

    Args:
      image: uint8 [H, W, 3].

    Raises:
      ValueError: another type or shape; floats would be truncated, not rounded.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"a PNG takes uint8 [H, W, 3], not {image.dtype} {list(image.shape)}")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _open(data: bytes, at_least: int, reduce: bool = False) -> tuple[Image.Image, bool]:
    """Returns the upright RGB image, and whether the file's bytes can be stored as they are."""
    try:
        file = Image.open(io.BytesIO(data), formats=FORMATS)
        huge = reduce and file.width * file.height > MAX_STORED_PIXELS
        if huge:
            at_least = 2 * STORED_SIDE
        if at_least and min(file.size) > at_least:
            # A no-op but for JPEG, whose decoder can scale down by powers of two.
            file.draft(None, _scaled(file, at_least))
        # The raw mode of a 16-bit PNG ("RGB;16B") is only known before it is loaded.
        deep = any("16" in str(tile[3]) for tile in file.tile)
        file.load()
        image: Image.Image = file
        kind, mode, clear = image.format, image.mode, _has_transparency(image)
        if kind == "PNG" and "transparency" in image.info:
            image = _with_alpha(image, data[_PNG_DEPTH])
        image, turned = _upright(image)
        image = _rgb(image)
        if huge and min(image.size) > STORED_SIDE:
            image = image.resize(_scaled(image, STORED_SIDE), Image.Resampling.LANCZOS)
    except MemoryError:  # the machine's fault, not the file's
        raise
    except Exception as error:
        # Pillow's parsers raise almost anything on damaged files, SyntaxError included.
        raise UnreadableImageError(_reason(error)) from error
    plain = kind in ("JPEG", "PNG") and mode in ("L", "RGB")
    return image, plain and not (clear or turned or huge or deep)


def _scaled(image: Image.Image, shorter_side: int) -> tuple[int, int]:
    """The size (width, height) of the image, scaled so that its shorter side has that length."""
    scale = shorter_side / min(image.size)
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))


def _reason(error: Exception) -> str:
    """Why a file can't be decoded, in the same words every time."""
    # The text of this error holds an address in memory.
    unknown = isinstance(error, UnidentifiedImageError)
    return f"{type(error).__name__}: {'not an image, or damaged' if unknown else error}"


def _with_alpha(image: Image.Image, depth: int) -> Image.Image:
    """Turns the transparent colours of a PNG (its chunk tRNS) into an alpha channel.

    Pillow reads 8 of 16 bits a colour sample, so colours that agree in these are transparent.

    Args:
      image: loaded.
      depth: bits a sample of the file.
    """
    key = image.info["transparency"]
    if image.mode.startswith("I"):
        values = np.asarray(image)
        pixels = np.repeat(_eight_bits(values)[..., None], 3, axis=-1)
        alpha = np.where(values == key, np.uint8(0), np.uint8(255))
    else:
        if isinstance(key, tuple):
            key = b"".join((part >> max(depth - 8, 0)).to_bytes(2, "big") for part in key)
        elif image.mode != "P":
            key = key.to_bytes(2, "big")
        pixels, plane, _ = samples.planes(image, depth, key if image.mode != "P" else None)
        assert plane is not None, "the file has transparent colours"
        alpha = plane
    result = Image.fromarray(np.dstack([pixels, alpha]))
    # EXIF, among others, which may say how the picture is to be turned.
    result.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return result


def _has_transparency(image: Image.Image) -> bool:
    return image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info


def _upright(image: Image.Image) -> tuple[Image.Image, bool]:
    """Applies the EXIF rotation; a damaged EXIF block doesn't spoil the picture."""
    try:
        turned = ImageOps.exif_transpose(image)
        return turned, image.getexif().get(0x0112, 1) != 1
    except MemoryError:
        raise
    except Exception:
        return image, False


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if _has_transparency(image):
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image.convert("RGB")


def _eight_bits(grey: np.ndarray) -> np.ndarray:
    """Scales [H, W] of 16-bit or wider integers, or of floats, to uint8."""
    values = np.nan_to_num(grey.astype(np.float64))
    if np.issubdtype(grey.dtype, np.integer):
        # 65535 is white; wider integers are scaled by their largest value.
        white = max(65535.0, values.max())
    else:
        # Floats are in 0..1 by convention; others are scaled by their largest value.
        white = max(1.0, values.max())
    return np.round(np.clip(values / white, 0, 1) * 255).astype(np.uint8)
