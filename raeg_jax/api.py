"""Protect, save and recover arrays with one call each, see `raeg_jax`."""

import dataclasses
import os
import warnings
from collections.abc import Sequence

import numpy as np

from raeg_jax.files import check_local
from raeg_jax.image_file.read import ImageFile, read_image_file
from raeg_jax.image_file.write import write_image_file
from raeg_jax.methods.recovery import ShippedRecoverer
from raeg_jax.payload.key import Key
from raeg_jax.protection import restore
from raeg_jax.protection.loaded_generator import LoadedGenerator, load_generator
from raeg_jax.protection.protect import Protected, Protector
from raeg_jax.protection.recover import Recovered, Recoverer, check_image
from raeg_jax.protection.shipped import path_of


def protect(
    images: Sequence[np.ndarray],
    generator: LoadedGenerator,
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
      generator: as `load_generator` or `default_generator` returns it.
      key: the owner's, as `generate_key` or `read_key` returns it.
      labels: class of each image; None lets the target classifiers say it, as those of a generator
        with published targets always do: a warning says so where labels are given.
      batch_size: images (or tiles of large ones) at a time.
      tile: side in pixels of the squares that large images are cut into; see `Protector`.
      tries: protected images to make of each, of which the one that misleads the generator's
        classifiers most is returned.

    Raises:
      UserError: an impossible generator, image, label or number.
      UnrecoverableError: an image would not be recovered exactly.
    """
    if generator.labels_are_readings and any(label is not None for label in labels or ()):
        warnings.warn(
            "labels aren't used: this generator's targets are published classifiers with classes "
            "of their own, and the label of an image is what they read in it; leave labels out",
            stacklevel=2,
        )
    protector = Protector(generator, key, batch_size=batch_size, tile=tile, tries=tries)
    return protector.protect(images, labels)


def save(protected: Protected, path: os.PathLike | str) -> None:
    """Writes a protected image with its payload, as `raeg protect` does; `recover` reads it.

    Args:
      protected: as `protect` returns it.
      path: replaced where it exists, whole or not at all; its suffix chooses PNG, WebP or TIFF.
        Only PNG can hold the payload of an image without room for it in its pixels.

    Raises:
      UserError: a format that can't hold the image or its payload, or a file that can't be written.
    """
    check_local(os.fspath(path))
    blob = None if protected.in_pixels else protected.blob
    write_image_file(path, ImageFile(protected.pixels), payload_chunk=blob)


def recover(
    images: Sequence[np.ndarray | os.PathLike | str],
    generator: LoadedGenerator | None,
    key: Key,
    blobs: Sequence[bytes | None] | None = None,
) -> list[Recovered]:
    """Recovers the originals of protected images, bit for bit.

    Args:
      images: each one `Protected.pixels`, uint8 [H, W, 3], or a file that `save` or `raeg` wrote.
      generator: that protected them; None for those that come with the package, each for the
        images that it protected, and for images of RAE and RIT.
      key: that protected them.
      blobs: `Protected.blob` of each image, or None where the payload is in the pixels or the file.

    Raises:
      UserError: an impossible generator or image, or a file that can't be read.
      PayloadError: the first image can't be recovered; its subclasses say why. `Recoverer` returns
        these errors, for images of which some can be recovered.
    """
    blobs = [None] * len(images) if blobs is None else blobs
    pictures = [
        _picture(index, image, blob)
        for index, (image, blob) in enumerate(zip(images, blobs, strict=True))
    ]
    recoverer: restore.PixelRecoverer = (
        ShippedRecoverer(key, lambda name: Recoverer(load_generator(path_of(name)), key))
        if generator is None
        else Recoverer(generator, key)
    )
    recovered = []
    for index, result in enumerate(restore.restore(recoverer, pictures)):
        if isinstance(result, Exception):
            raise type(result)(f"image {index}: {result}")
        recovered.append(result.recovered)
    return recovered


def _picture(index: int, image: np.ndarray | os.PathLike | str, blob: bytes | None) -> ImageFile:
    if isinstance(image, (str, os.PathLike)):
        check_local(os.fspath(image))
        picture = read_image_file(image)
        return picture if blob is None else dataclasses.replace(picture, payload_chunk=blob)
    check_image(image, index)
    return ImageFile(image, payload_chunk=blob)
