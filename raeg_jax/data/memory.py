"""Whole splits as arrays: decoded and resized once, then mapped from disk."""

import functools
import os
import pathlib
import sys
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from raeg_jax.data import decode
from raeg_jax.data.cache import writing_to
from raeg_jax.data.digests import DIGITS, digest_of
from raeg_jax.data.records import Records
from raeg_jax.errors import UserError
from raeg_jax.files import whole_file

_CHUNK = 64


def arrays(
    split: Sequence[dict], image_size: int, settings: ConfigDict, max_images: int = 0
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Decodes and resizes the images of a split.

    Where a whole split takes less than `settings.memory_mib`, all of it is kept beside the
    prepared data, its digest behind it, and mapped from there the next time.

    Args:
      split: records `{"image": bytes, "label": int, "file_name": str}`.
      image_size: side of the images in pixels.
      settings: `config.data`.
      max_images: where positive, at most so many images, spread evenly over classes and
        within each class; the same ones every time.

    Returns:
      Images uint8 [N, S, S, 3] (maybe read-only), labels int32 [N], file names.

    Raises:
      UserError: `image_size` or `max_images` is impossible, or the cache can't be written.
    """
    if image_size < 1:
        raise UserError(f"data.image_size={image_size} must be at least 1")
    if max_images < 0:
        raise UserError(f"max_images={max_images} must be 0 (all) or positive")
    labels, names = labels_of(split), names_of(split)
    if 0 < max_images < len(split):
        chosen = spread(labels, max_images)
        names = [names[i] for i in chosen]
        return images_of(split, image_size, settings, chosen), labels[chosen], names
    return images_of(split, image_size, settings), labels, names


def images_of(
    split: Sequence[dict],
    image_size: int,
    settings: ConfigDict,
    chosen: np.ndarray | slice = slice(None),
) -> np.ndarray:
    """The images of a split, from the cache where it is kept.

    Args:
      split: as for `arrays`.
      image_size: side of the images in pixels.
      settings: `config.data`.
      chosen: indices of the images that are wanted; all by default.

    Returns:
      uint8 [N, S, S, 3].

    Raises:
      UserError: the cache can't be written.
    """
    everything = np.arange(len(split))
    if not isinstance(split, Records) or not fits(split, image_size, settings):
        return _decode(split, everything[chosen], image_size)
    path = split.folder / f"{split.split}_{image_size}.npy"
    if not _is_whole(path):
        images = _decode(split, everything, image_size)
        with writing_to(split.folder), whole_file(path) as file:
            np.save(file, images)
            file.write(digest_of(images).encode())
    # A view of the mapped file: memory is shared by all who read it.
    return np.asarray(np.load(path, mmap_mode="r"))[chosen]


def _is_whole(path: pathlib.Path) -> bool:
    """Whether a file of images holds what was written; one that is damaged is worth a note."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    whole = _ends_with_digest(path, status.st_size, status.st_mtime_ns)
    if not whole:
        print(f"note: {path} is damaged or of an older version: made again", file=sys.stderr)
    return whole


@functools.lru_cache(maxsize=64)
def _ends_with_digest(path: pathlib.Path, size: int, changed: int) -> bool:
    """Whether a file's array is followed by its digest; read once as long as it stays the same."""
    del size, changed
    try:
        images = np.load(path, mmap_mode="r")
        with path.open("rb") as file:
            file.seek(-DIGITS, os.SEEK_END)
            return file.read() == digest_of(images).encode()
    except (OSError, ValueError, EOFError):
        return False


def fits(split: Sequence[dict], image_size: int, settings: ConfigDict) -> bool:
    """Whether all images of a split take less than `settings.memory_mib`."""
    return len(split) * image_size**2 * 3 < settings.memory_mib * 2**20


def labels_of(split: Sequence[dict]) -> np.ndarray:
    """Labels of all records: int32 [N]."""
    if isinstance(split, Records):
        return split.labels
    return np.array([record["label"] for record in split], np.int32)


def names_of(split: Sequence[dict]) -> list[str]:
    """File names of all records."""
    if isinstance(split, Records):
        return list(split.file_names)
    return [record["file_name"] for record in split]


def spread(labels: np.ndarray, count: int) -> np.ndarray:
    """Chooses images evenly over classes, and evenly within each class.

    Args:
      labels: int [N].
      count: how many to choose, at most N.

    Returns:
      Sorted indices [count]. Where `count` is at least the number of classes, every class is there.
    """
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    if count < len(members):
        members = [members[i] for i in _even(len(members), count)]
    quotas = np.zeros(len(members), int)
    # One image a class and round; classes that run out leave theirs to the others.
    while (left := count - quotas.sum()) > 0:
        open_classes = [i for i, m in enumerate(members) if quotas[i] < len(m)]
        for i in _even(len(open_classes), min(left, len(open_classes))):
            quotas[open_classes[i]] += 1
    chosen = [m[_even(len(m), quota)] for m, quota in zip(members, quotas, strict=True)]
    return np.sort(np.concatenate(chosen))


def _even(length: int, count: int) -> np.ndarray:
    """`count` different indices below `length`, evenly spaced."""
    return (np.arange(count) * length) // max(count, 1)


def _decode(split: Sequence[dict], chosen: np.ndarray, image_size: int) -> np.ndarray:
    images = np.zeros((len(chosen), image_size, image_size, 3), np.uint8)

    def fill(place: int) -> None:
        images[place] = decode.load(split[int(chosen[place])]["image"], image_size)

    description = f"decoding images to {image_size} px"
    progress = tqdm(total=len(chosen), desc=description, unit="img", leave=False, delay=1)
    with progress, ThreadPool(min(os.cpu_count() or 1, 16)) as pool:
        for start in range(0, len(chosen), _CHUNK):
            places = range(start, min(start + _CHUNK, len(chosen)))
            pool.map(fill, places)
            progress.update(len(places))
    return images
