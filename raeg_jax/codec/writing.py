"""Writing image files that give the same pixels when they are read again."""

import dataclasses
import io
import os
import pathlib
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from raeg_jax.codec import blocks, chunk, left_out, turning
from raeg_jax.codec.metadata import Metadata, holds_directories, tiff_tags
from raeg_jax.codec.picture import Picture, decode_picture, same_samples
from raeg_jax.codec.pillow_warnings import pillow_warnings
from raeg_jax.errors import UserError
from raeg_jax.files import whole_file

SUFFIXES = {".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
_INSTEAD = "use .png, .webp or .tiff"
# On photographs no larger than by Pillow's default, in half the time.
_PNG_LEVEL = 3
# A tenth larger than by Pillow's defaults, in a tenth of the time and half the memory.
_WEBP_EFFORT = {"method": 0, "quality": 20}
_WEBP_SIDE = 16383
_TIFF_XMP, _TIFF_PREDICTOR = 700, 317


def output_format(path: os.PathLike | str) -> str:
    """Returns the format that a name asks for: "PNG", "WEBP" or "TIFF".

    Raises:
      UserError: another suffix.
    """
    suffix = pathlib.Path(path).suffix
    if suffix.lower() in _JPEG:
        raise UserError(
            f"{path}: JPEG changes pixels, and the original could not be recovered: {_INSTEAD}"
        )
    if suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{path}: {suffix or 'no suffix'} is none of the lossless formats written: {_INSTEAD}"
        )
    return SUFFIXES[suffix.lower()]


def write_picture(
    path: os.PathLike | str,
    picture: Picture,
    *,
    strip: bool = False,
    orientation: int = turning.UPRIGHT,
    payload_chunk: bytes | None = None,
) -> None:
    """Writes a picture losslessly; the file appears whole or not at all.

    `read_picture` gives the same pixels and alpha again, with two exceptions in WebP, which has no
    grey and no alpha that is opaque everywhere: "rgb" and None come back. A profile for grey stays
    in the file of a picture that is no longer grey, where readers overlook it. A TIFF with EXIF or
    GPS data isn't compressed.

    Before it gets its name the file is read again: nobody has another copy of what is in it.

    Memory beside the picture: 10 bytes a pixel (13 with alpha) and the size of the file; WebP's
    encoder takes 25.

    Args:
      path: replaced where it exists; its suffix chooses PNG, WebP or TIFF.
      picture: of mode "grey" only if its three channels are equal.
      strip: leaves out all metadata but an orientation that isn't 1.
      orientation: the raster is turned back by it, and the file says that it is to be turned: with
        the orientation of the original file, the raster is that of the original file.
      payload_chunk: put into a `raEg` chunk; PNG only.

    Raises:
      UserError: another suffix, a payload, a size or metadata that the format can't hold, or a file
        that can't be written; what was there before is left as it was.
      ValueError: mode "grey" of a picture that isn't.
    """
    kind = output_format(path)
    if payload_chunk is not None and kind != "PNG":
        raise UserError(f"{path}: only PNG holds the payload beside the pixels: use .png")
    if kind == "WEBP" and max(picture.pixels.shape) > _WEBP_SIDE:
        raise UserError(
            f"{path}: WebP holds at most {_WEBP_SIDE} pixels a side, not "
            f"{max(picture.pixels.shape)}: use .png or .tiff"
        )
    try:
        # What Pillow warns of has been told when the file was read.
        with pillow_warnings(), whole_file(path) as file:
            if kind == "PNG":
                _write_png(file, *_turned(picture, strip, orientation), payload_chunk)
            elif kind == "WEBP":
                _write_webp(file, *_turned(picture, strip, orientation))
            else:
                _write_tiff(file, *_turned(picture, strip, orientation), path)
            file.flush()
            _check(pathlib.Path(file.name).read_bytes(), path, picture, payload_chunk)
    except OSError as error:
        raise UserError(
            f"{path} can't be written ({error.strerror or error}): name another folder or make room"
        ) from error


def lost(picture: Picture, path: os.PathLike | str) -> tuple[str, ...]:
    """Says what of the metadata of a picture's file is not in a file of this name, or nothing.

    Returns:
      no sentence or one: the end of one about the file that the picture was read from.
    """
    with pillow_warnings():
        return left_out.note(picture.lost, picture.metadata, output_format(path))


def png_bytes(
    picture: Picture,
    *,
    strip: bool = False,
    orientation: int = turning.UPRIGHT,
    payload_chunk: bytes | None = None,
) -> bytes:
    """Returns what `write_picture` writes to a PNG."""
    file = io.BytesIO()
    with pillow_warnings():
        _write_png(file, *_turned(picture, strip, orientation), payload_chunk)
    png = file.getvalue()
    _check(png, "the PNG", picture, payload_chunk)
    return png


def _check(
    data: bytes, name: os.PathLike | str, picture: Picture, payload_chunk: bytes | None
) -> None:
    """Makes sure that anybody reads from a file what it is to hold, or an original may be lost.

    Raises:
      UserError: the file is refused, or something else is read.
    """
    try:
        found = decode_picture(data, str(name), as_others=True)
        same = found.payload_chunk == payload_chunk and same_samples(found, picture)
        reason = None if same else "something else would be read from it"
    except UserError as error:
        # Its advice is for somebody who was given the file.
        reason = error.__cause__ or error
    if reason:
        raise UserError(
            f"{name} isn't written, as it could not be used ({reason}): leave out metadata "
            "(--strip), or choose another format"
        )


def _turned(picture: Picture, strip: bool, orientation: int) -> tuple[Image.Image, Metadata]:
    """Returns the raster and the metadata of a file."""
    kept = Metadata() if strip else picture.metadata
    kept = dataclasses.replace(
        kept,
        exif=blocks.with_orientation(kept.exif, orientation),
        xmp=blocks.xmp_with_orientation(kept.xmp, orientation),
        dpi=kept.dpi and kept.dpi[::-1] if turning.swaps_axes(orientation) else kept.dpi,
    )
    return Image.fromarray(turning.stored(_raster(picture), orientation)), kept


def _raster(picture: Picture) -> np.ndarray:
    """Returns uint8 [H, W] or [H, W, 2 to 4], upright."""
    colours = picture.pixels
    if picture.mode == "grey":
        if not (colours[..., :1] == colours[..., 1:]).all():
            raise ValueError("a picture of mode 'grey' must have three equal channels")
        colours = colours[..., :1]
    if picture.alpha is not None:
        return np.dstack([colours, picture.alpha])
    return colours[..., 0] if picture.mode == "grey" else colours


def _write_png(
    file: BinaryIO, image: Image.Image, kept: Metadata, payload_chunk: bytes | None
) -> None:
    info = PngInfo()
    for name, content in kept.png_chunks:
        info.add(name, content)
    if kept.xmp:
        info.add_itxt("XML:com.adobe.xmp", kept.xmp)
    if payload_chunk is not None:
        info.add(chunk.NAME, payload_chunk)
    options = {"exif": kept.exif, "icc_profile": kept.icc or None, "dpi": kept.dpi}
    image.save(file, "PNG", pnginfo=info, compress_level=_PNG_LEVEL, **options)


def _write_webp(file: BinaryIO, image: Image.Image, kept: Metadata) -> None:
    if image.mode in ("L", "LA"):
        image = image.convert("RGBA" if image.mode == "LA" else "RGB")
    # Without `exact` the colours under alpha 0 are changed for better compression.
    options = {"lossless": True, "exact": True, **_WEBP_EFFORT}
    image.save(file, "WEBP", icc_profile=kept.icc, exif=kept.exif, xmp=kept.xmp, **options)


def _write_tiff(
    file: BinaryIO, image: Image.Image, kept: Metadata, path: os.PathLike | str
) -> None:
    try:
        tags = tiff_tags(kept.exif)
        if kept.xmp:
            tags[_TIFF_XMP] = kept.xmp
        options = {"compression": "raw"}
        # Pillow's compressing writer can't write the directories of EXIF and GPS.
        if not holds_directories(tags):
            options = {"compression": "tiff_adobe_deflate"}
            tags[_TIFF_PREDICTOR] = 2
        image.save(file, "TIFF", exif=tags, icc_profile=kept.icc or None, dpi=kept.dpi, **options)
    except (MemoryError, OSError):
        raise
    except Exception as error:
        # A TIFF's tags are written anew, and Pillow raises almost anything on impossible values.
        raise UserError(
            f"{path}: a TIFF can't hold the EXIF data ({error}): use .png or .webp, or strip them"
        ) from error
