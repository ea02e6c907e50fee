"""Writing image files that give the same pixels when they are read again."""

import dataclasses
import io
import os
import pathlib
import re
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from raeg_jax.errors import UserError
from raeg_jax.files import whole_file
from raeg_jax.image_file import exif
from raeg_jax.image_file.metadata import Metadata, loss_note
from raeg_jax.image_file.png import PAYLOAD_CHUNK
from raeg_jax.image_file.read import ImageFile, decode_image_file, pillow_warnings, same_samples
from raeg_jax.image_file.samples import UPRIGHT, stored, swaps_axes

SUFFIXES = {".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
_INSTEAD = "use .png, .webp or .tiff"
# On photographs no larger than by Pillow's default, in half the time.
_PNG_LEVEL = 3
# A tenth larger than by Pillow's defaults, in a tenth of the time and half the memory.
_WEBP_EFFORT = {"method": 0, "quality": 20}
_WEBP_SIDE = 16383
_TIFF_XMP, _TIFF_PREDICTOR = 700, 317
_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation\s*(?:=\s*["\']|>)\s*)[1-8]')


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


def write_image_file(
    path: os.PathLike | str,
    image: ImageFile,
    *,
    strip: bool = False,
    orientation: int = UPRIGHT,
    payload_chunk: bytes | None = None,
) -> None:
    """Writes an image losslessly; the file appears whole or not at all.

    `read_image_file` gives the same pixels and alpha again, with two exceptions in WebP, which has
    no grey and no alpha that is opaque everywhere: "rgb" and None come back. A profile for grey
    stays in the file of an image that is no longer grey, where readers overlook it. A TIFF with
    EXIF or GPS data isn't compressed.

    Before the file gets its name it is read again: nobody has another copy of what is in it.

    Memory beside the image: 10 bytes a pixel (13 with alpha) and the size of the file; WebP's
    encoder takes 25.

    Args:
      path: replaced where it exists; its suffix chooses PNG, WebP or TIFF.
      image: of mode "grey" only if its three channels are equal.
      strip: leaves out all metadata but an orientation that isn't 1.
      orientation: the raster is turned back by it, and the file says that it is to be turned: with
        the orientation of the original file, the raster is that of the original file.
      payload_chunk: put into a `raEg` chunk; PNG only.

    Raises:
      UserError: another suffix, a payload, a size or metadata that the format can't hold, or a file
        that can't be written; what was there before is left as it was.
      ValueError: mode "grey" of an image that isn't.
    """
    kind = output_format(path)
    if payload_chunk is not None and kind != "PNG":
        raise UserError(f"{path}: only PNG holds the payload beside the pixels: use .png")
    if kind == "WEBP" and max(image.pixels.shape) > _WEBP_SIDE:
        raise UserError(
            f"{path}: WebP holds at most {_WEBP_SIDE} pixels a side, not "
            f"{max(image.pixels.shape)}: use .png or .tiff"
        )
    try:
        # What Pillow warns of was said when the file was read.
        with pillow_warnings(), whole_file(path) as file:
            raster = _raster(image, orientation)
            metadata = _turned_metadata(image, strip, orientation)
            if kind == "PNG":
                _write_png(file, raster, metadata, payload_chunk)
            elif kind == "WEBP":
                _write_webp(file, raster, metadata)
            else:
                _write_tiff(file, raster, metadata, path)
            file.flush()
            _check(pathlib.Path(file.name).read_bytes(), path, image, payload_chunk)
    except OSError as error:
        raise UserError(
            f"{path} can't be written ({error.strerror or error}): name another folder or make room"
        ) from error


def lost_metadata(image: ImageFile, path: os.PathLike | str) -> tuple[str, ...]:
    """Says what of the metadata of an image's file is not in a file of this name, or nothing.

    Returns:
      no sentence or one: the end of one about the file that the image was read from.
    """
    with pillow_warnings():
        return loss_note(image.lost, image.metadata, output_format(path))


def png_bytes(
    image: ImageFile,
    *,
    strip: bool = False,
    orientation: int = UPRIGHT,
    payload_chunk: bytes | None = None,
) -> bytes:
    """Returns what `write_image_file` writes to a PNG."""
    file = io.BytesIO()
    with pillow_warnings():
        metadata = _turned_metadata(image, strip, orientation)
        _write_png(file, _raster(image, orientation), metadata, payload_chunk)
    _check(file.getvalue(), "the PNG", image, payload_chunk)
    return file.getvalue()


def _check(
    data: bytes, name: os.PathLike | str, image: ImageFile, payload_chunk: bytes | None
) -> None:
    """Makes sure that anybody reads from a file what it is to hold, or an original may be lost.

    Raises:
      UserError: the file is refused, or something else is read.
    """
    reason: BaseException | str | None
    try:
        read = decode_image_file(data, str(name), refuse_oversized=True)
        same = read.payload_chunk == payload_chunk and same_samples(read, image)
        reason = None if same else "something else would be read from it"
    except UserError as error:
        # Its advice is for somebody who was given the file.
        reason = error.__cause__ or error
    if reason:
        raise UserError(
            f"{name} isn't written, as it could not be used ({reason}): leave out metadata "
            "(--strip), or choose another format"
        )


def _turned_metadata(image: ImageFile, strip: bool, orientation: int) -> Metadata:
    """Returns the metadata of a file whose raster is turned back by an orientation."""
    metadata = Metadata() if strip else image.metadata
    return dataclasses.replace(
        metadata,
        exif=exif.with_orientation(metadata.exif, orientation),
        xmp=_XMP_ORIENTATION.sub(rb"\g<1>%d" % orientation, metadata.xmp),
        dpi=metadata.dpi and metadata.dpi[::-1] if swaps_axes(orientation) else metadata.dpi,
    )


def _raster(image: ImageFile, orientation: int) -> Image.Image:
    """Returns 1 to 4 channels, turned back by an orientation."""
    colours = image.pixels
    if image.mode == "grey":
        colours = image.pixels[..., 0]
        if not (image.pixels == colours[..., None]).all():
            raise ValueError("an image of mode 'grey' must have three equal channels")
    if image.alpha is not None:
        colours = np.dstack([colours, image.alpha])
    return Image.fromarray(stored(colours, orientation))


def _write_png(
    file: BinaryIO, raster: Image.Image, metadata: Metadata, payload_chunk: bytes | None
) -> None:
    info = PngInfo()
    for name, content in metadata.png_chunks:
        info.add(name, content)
    if metadata.xmp:
        info.add_itxt("XML:com.adobe.xmp", metadata.xmp)
    if payload_chunk is not None:
        info.add(PAYLOAD_CHUNK, payload_chunk)
    options = {"exif": metadata.exif, "icc_profile": metadata.icc or None, "dpi": metadata.dpi}
    raster.save(file, "PNG", pnginfo=info, compress_level=_PNG_LEVEL, **options)


def _write_webp(file: BinaryIO, raster: Image.Image, metadata: Metadata) -> None:
    if raster.mode in ("L", "LA"):
        raster = raster.convert("RGBA" if raster.mode == "LA" else "RGB")
    # Without `exact` the colours under alpha 0 are changed for better compression.
    options = {"lossless": True, "exact": True, **_WEBP_EFFORT}
    raster.save(
        file, "WEBP", icc_profile=metadata.icc, exif=metadata.exif, xmp=metadata.xmp, **options
    )


def _write_tiff(
    file: BinaryIO, raster: Image.Image, metadata: Metadata, path: os.PathLike | str
) -> None:
    try:
        tags = exif.tiff_tags(exif.parse_tags(metadata.exif))
        if metadata.xmp:
            tags[_TIFF_XMP] = metadata.xmp
        compression = "raw"
        # Pillow's compressing writer can't write the directories of EXIF and GPS.
        if not exif.holds_directories(tags):
            compression = "tiff_adobe_deflate"
            tags[_TIFF_PREDICTOR] = 2
        options = {"exif": tags, "icc_profile": metadata.icc or None, "dpi": metadata.dpi}
        raster.save(file, "TIFF", compression=compression, **options)
    except (MemoryError, OSError):
        raise
    except Exception as error:
        # A TIFF's tags are written anew, and Pillow raises almost anything on impossible values.
        raise UserError(
            f"{path}: a TIFF can't hold the EXIF data ({error}): use .png or .webp, or strip them"
        ) from error
