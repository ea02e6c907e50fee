"""Protecting, saving and recovering with one call each: see `raeg_jax`."""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from raeg_jax.files import check_local
from raeg_jax.image_file.read import ImageFile, read_image_file
from raeg_jax.image_file.write import write_image_file
from raeg_jax.payload.errors import PayloadError
from raeg_jax.payload.key import Key
from raeg_jax.protection import restore
from raeg_jax.protection.loaded_generator import LoadedGenerator
from raeg_jax.protection.protect import Protected, Protector
from raeg_jax.protection.recover import Recovered, Recoverer, check_image


def protect(
    images: Sequence[np.ndarray],
    bundle: LoadedGenerator,
    key: Key,
    labels: Sequence[int | None] | None = None,
    *,
    batch_size: int = 16,
    tile: int | None = None,
    tries: int = 1,
) -> list[Protected]:
    """Protects images of any sizes.

    Args:
      images: uint8 [H, W, 3] each, RGB.
      bundle: the generator, as `raeg_jax.load_generator` reads it; `raeg_jax.default_generator()`
        is the one that comes with the package.
      key: the owner's, as `raeg_jax.payload.key.read_key` reads it.
      labels: as for `Protector.protect`.
      batch_size: as for `Protector`.
      tile: as for `Protector`.
      tries: as for `Protector`.

    Raises:
      UserError: an impossible generator, image, label or number.
      UnrecoverableError: an image would not come back exactly.
    """
    protector = Protector(bundle, key, batch_size=batch_size, tile=tile, tries=tries)
    return protector.protect(images, labels)


def save(protected: Protected, path: os.PathLike | str) -> None:
    """Writes a protected image with its payload, wherever that is, as `raeg protect` does.

    The file appears whole or not at all, and `recover` takes it back.

    Args:
      protected: as `protect` returns it.
      path: replaced where it exists; its suffix chooses PNG, WebP or TIFF. Only PNG can hold the
        payload of an image that has no room for it in its pixels.

    Raises:
      UserError: a format that can't hold the image or its payload, or a file that can't be written.
    """
    check_local(os.fspath(path))
    blob = None if protected.in_pixels else protected.blob
    write_image_file(path, ImageFile(protected.pixels), payload_chunk=blob)


def recover(
    images: Sequence[np.ndarray | os.PathLike | str],
    bundle: LoadedGenerator,
    key: Key,
    blobs: Sequence[bytes | None] | None = None,
) -> list[Recovered]:
    """Recovers what `protect` made; `Recoverer` is for images of which some may be unrecoverable.

    Args:
      images: each one the pixels of a `Protected`, uint8 [H, W, 3], or a file as `save` or the
        tool wrote it.
      bundle: the generator.
      key: the owner's.
      blobs: `Protected.blob` of each, or None where it is in the pixels or in the file.

    Raises:
      UserError: an impossible generator or image, or a file that can't be read.
      PayloadError: of the first image that can't be recovered; subclasses say why.
    """
    blobs = [None] * len(images) if blobs is None else blobs
    pictures = [
        _picture(index, image, blob)
        for index, (image, blob) in enumerate(zip(images, blobs, strict=True))
    ]
    recovered = restore.restore(Recoverer(bundle, key), pictures)
    for index, found in enumerate(recovered):
        if isinstance(found, PayloadError):
            raise type(found)(f"image {index}: {found}")
    return [found.recovered for found in recovered]


def _picture(index: int, image: np.ndarray | os.PathLike | str, blob: bytes | None) -> ImageFile:
    if isinstance(image, (str, os.PathLike)):
        check_local(os.fspath(image))
        picture = read_image_file(image)
        return picture if blob is None else dataclasses.replace(picture, payload_chunk=blob)
    check_image(image, index)
    return ImageFile(image, payload_chunk=blob)
