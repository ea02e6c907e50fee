"""Splits as arrays: decoded and resized once, then mapped from disk; large ones on demand."""

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
from raeg_jax.data.cache import DIGITS, digest_of, writing_to
from raeg_jax.data.records import Record, Records
from raeg_jax.files import whole_file

_CHUNK = 64


def arrays(
    split: Sequence[Record], settings: ConfigDict, max_images: int = 0
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """As `open_split`, with all images in memory, or mapped: uint8 [N, S, S, 3]."""
    images, labels, names = open_split(split, settings, max_images)
    return images[:], labels, names


def images_of(
    split: Sequence[Record], settings: ConfigDict, chosen: np.ndarray | slice = slice(None)
) -> np.ndarray:
    """The images of a split, from the cache if they are there.

    If the whole split takes less than `settings.memory_mib`, all of it is written beside the
    prepared data, followed by its digest, and mapped from there the next time.

    Args:
      split: records.
      settings: `config.data`.
      chosen: indices of the wanted images; all by default.

    Returns:
      uint8 [N, S, S, 3].

    Raises:
      UserError: the cache can't be written.
    """
    everything, size = np.arange(len(split)), settings.image_size
    if not isinstance(split, Records) or not fits(len(split), settings):
        return _decode(split, everything[chosen], size)
    path = split.folder / f"{split.split}_{size}.npy"
    if not _is_whole(path):
        images = _decode(split, everything, size)
        with writing_to(split.folder), whole_file(path) as file:
            np.save(file, images)
            file.write(digest_of(images.data).encode())
    # A view of the mapped file: processes that read it share memory.
    return np.asarray(np.load(path, mmap_mode="r"))[chosen]


def _is_whole(path: pathlib.Path) -> bool:
    """Whether a file of images holds what was written; prints a note if it is damaged."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    whole = _ends_with_digest(path, status.st_size, status.st_mtime_ns)
    if not whole:
        print(f"note: {path} is damaged: made again", file=sys.stderr)
    return whole


@functools.lru_cache(maxsize=64)
def _ends_with_digest(path: pathlib.Path, size: int, changed: int) -> bool:
    """Whether a file's array is followed by its digest; read again only when the file changes."""
    del size, changed
    try:
        images = np.load(path, mmap_mode="r")
        with path.open("rb") as file:
            file.seek(-DIGITS, os.SEEK_END)
            return file.read() == digest_of(images.data).encode()
    except (OSError, ValueError, EOFError):
        return False


def fits(count: int, settings: ConfigDict) -> bool:
    """Whether so many images take less than `settings.memory_mib`."""
    return count * settings.image_size**2 * 3 < settings.memory_mib * 2**20


def labels_of(split: Sequence[Record]) -> np.ndarray:
    """Labels of all records: int32 [N]."""
    if isinstance(split, Records):
        return split.labels
    return np.array([record["label"] for record in split], np.int32)


def names_of(split: Sequence[Record]) -> list[str]:
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
    # Each round takes an image of each class that has images left.
    while (missing := count - quotas.sum()) > 0:
        larger = [i for i, m in enumerate(members) if quotas[i] < len(m)]
        for i in _even(len(larger), min(missing, len(larger))):
            quotas[larger[i]] += 1
    chosen = [m[_even(len(m), quota)] for m, quota in zip(members, quotas, strict=True)]
    return np.sort(np.concatenate(chosen))


def _even(length: int, count: int) -> np.ndarray:
    """`count` different indices below `length`, evenly spaced."""
    return (np.arange(count) * length) // max(count, 1)


def _decode(split: Sequence[Record], chosen: np.ndarray, image_size: int) -> np.ndarray:
    images = np.zeros((len(chosen), image_size, image_size, 3), np.uint8)

    def fill(i: int) -> None:
        images[i] = decode.load(split[int(chosen[i])]["image"], image_size)

    description = f"decoding images to {image_size} px"
    progress = tqdm(total=len(chosen), desc=description, unit="img", leave=False, delay=1)
    with progress, ThreadPool(min(os.cpu_count() or 1, 16)) as pool:
        for start in range(0, len(chosen), _CHUNK):
            chunk = range(start, min(start + _CHUNK, len(chosen)))
            pool.map(fill, chunk)
            progress.update(len(chunk))
    return images


class DecodedOnDemand:
    """Images of records, indexed like an array of them, and decoded each time."""

    def __init__(self, records: Sequence[Record], chosen: np.ndarray, settings: ConfigDict):
        self._records, self._chosen, self._settings = records, chosen, settings

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: np.ndarray | slice) -> np.ndarray:
        """The images at `index`, int [B]: uint8 [B, S, S, 3]."""
        return images_of(self._records, self._settings, self._chosen[index])


def open_split(
    split: Sequence[Record], settings: ConfigDict, max_images: int = 0
) -> tuple[np.ndarray | DecodedOnDemand, np.ndarray, list[str]]:
    """Opens a split; images above `settings.memory_mib` are never in memory all at once.

    Args:
      split: records.
      settings: `config.data`.
      max_images: where positive, at most so many images, spread evenly over classes and
        within each class; the same ones every time.

    Returns:
      Images, uint8 [N, S, S, 3] (maybe read-only), or `DecodedOnDemand`; labels int32 [N]; file
      names.

    Raises:
      UserError: the cache can't be written.
    """
    labels, names = labels_of(split), names_of(split)
    chosen: np.ndarray | slice = slice(None)
    if 0 < max_images < len(split):
        chosen = spread(labels, max_images)
        labels, names = labels[chosen], [names[i] for i in chosen]
    if fits(len(labels), settings):
        return images_of(split, settings, chosen), labels, names
    return DecodedOnDemand(split, np.arange(len(split))[chosen], settings), labels, names
