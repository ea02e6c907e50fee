"""Loads a data set by name: prepared once, then read from the cache."""

import contextlib
import json
import pathlib
import shutil
import sys
import warnings

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from ml_collections import ConfigDict
from PIL import Image

from raeg_jax.data.builder import (
    SKIPPED_FILE,
    ChangedError,
    ListingBuilder,
    read_index,
    skipped_text,
)
from raeg_jax.data.cache import reading_from, writing_to
from raeg_jax.data.caltech101 import Caltech101
from raeg_jax.data.celeba_100 import Celeba100
from raeg_jax.data.image_folder import ImageFolder
from raeg_jax.data.listing import Listing
from raeg_jax.data.memory import labels_of
from raeg_jax.data.mini_imagenet import MiniImagenet
from raeg_jax.data.photographs import Photographs
from raeg_jax.data.records import Records, Splits
from raeg_jax.files import cache_folder, write_whole
from raeg_jax.lock import locked

# With more classes than this only the smallest and the largest are named.
_NAMED = 20
_EXAMPLES = 3

# A new data set is a file with its builder, and one line here.
DATASETS: dict[str, type[ListingBuilder]] = {
    "photographs": Photographs,
    "celeba_100": Celeba100,
    "caltech101": Caltech101,
    "mini_imagenet": MiniImagenet,
    "image_folder": ImageFolder,
}


def load(settings: ConfigDict) -> Splits:
    """Finds a data set's files, prepares them if they haven't been, and opens the result.

    Prepared data lie in `<cache>/<dataset>/<fingerprint>/<version>`. The fingerprint covers names,
    contents, labels and split of the source's files: a changed file makes another data set. The
    digests of contents are remembered in `<cache>/<dataset>/digests.json`, by size and times.

    Args:
      settings: `config.data`.

    Raises:
      UserError: the data set's files are missing (the message says what to put where) or can't be
        read, or the cache can't be written.
    """
    cache = cache_folder(settings.cache_dir)
    kind = DATASETS[settings.dataset]
    listing = kind.list_source(settings, cache)
    listing = listing.with_contents(_memory(listing, cache))
    parent = cache / listing.dataset / listing.fingerprint
    folder = parent / str(kind.VERSION)
    with writing_to(cache):
        if not folder.is_dir():
            parent.mkdir(parents=True, exist_ok=True)
            with locked(parent / "lock"):
                if not folder.is_dir():
                    _prepare(kind, listing, cache)
    skipped = _skipped(listing, folder)
    splits = Splits(
        train=Records(folder, "train"),
        test=Records(folder, "test"),
        class_names=listing.class_names,
        skipped=skipped,
        name=listing.dataset,
        fingerprint=listing.fingerprint,
    )
    for note in (*listing.notes, *content_notes(listing, splits)):
        print(f"note: {note}", file=sys.stderr)
    for warning in listing.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if skipped:
        print(_warning(splits, folder), file=sys.stderr)
    print(summary(splits), file=sys.stderr)
    return splits


def _memory(listing: Listing, cache: pathlib.Path) -> pathlib.Path:
    """The file that remembers digests of the source's files."""
    return cache / listing.dataset / "digests.json"


def _skipped(listing: Listing, folder: pathlib.Path) -> tuple[str, ...]:
    """Files that are left out now, with reasons; brings `skipped.json` up to date."""
    index = read_index(folder)
    with reading_from(folder):
        written = json.loads((folder / SKIPPED_FILE).read_text(encoding="utf-8"))
    skipped = [*listing.left_out, *index["unreadable"]]
    if skipped != written:
        # Files that aren't images may come and go; another user's data may not be writable.
        with contextlib.suppress(OSError):
            write_whole(folder / SKIPPED_FILE, skipped_text(skipped).encode())
    return tuple(skipped)


def _prepare(kind: type[ListingBuilder], listing: Listing, cache: pathlib.Path) -> None:
    """Writes the records; the folder appears only when everything is in it."""
    # A killed run left these: this process holds the lock, so no other writes them.
    for remains in (cache / listing.dataset / listing.fingerprint).glob("incomplete.*"):
        shutil.rmtree(remains, ignore_errors=True)
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # TFDS warns of each data set that isn't its own.
    tfds.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # Large images are expected here: they are stored at reduced size.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            kind(listing, data_dir=cache).download_and_prepare()
    except ChangedError:
        # The digest may be that of an earlier content of the same size and times.
        _memory(listing, cache).unlink(missing_ok=True)
        raise
    finally:
        tfds.enable_progress_bar()
        logging.set_verbosity(verbosity)


def _warning(splits: Splits, folder: pathlib.Path) -> str:
    total, skipped = len(splits.train) + len(splits.test), splits.skipped
    more = ", ..." if len(skipped) > 3 else ""
    return (
        f"warning: {splits.name}: {len(skipped)} files skipped, {total} remain: "
        f"{', '.join(skipped[:3])}{more} (all in {folder / SKIPPED_FILE})"
    )


def summary(splits: Splits) -> str:
    """One line: the number of classes, and how many images each has in each split."""
    names, (train, test) = splits.class_names, _counts(splits)
    text = (
        f"{splits.name}: {len(names)} classes, {len(splits.train)} training and "
        f"{len(splits.test)} test images"
    )
    if len(names) <= _NAMED:
        rows = [f"{name} {a} + {b}" for name, a, b in zip(names, train, test, strict=True)]
        return f"{text}: {', '.join(rows)}"
    least, most = (int(find(train + test)) for find in (np.argmin, np.argmax))
    return (
        f"{text}: from {names[least]} {train[least]} + {test[least]} to {names[most]} "
        f"{train[most]} + {test[most]}"
    )


def content_notes(listing: Listing, splits: Splits) -> list[str]:
    """Sentences on classes that are never tested, and on images that two classes share."""
    notes = []
    untested = [splits.class_names[label] for label in np.flatnonzero(_counts(splits)[1] == 0)]
    if untested:
        notes.append(
            f"{splits.name}: {len(untested)} classes have no test image, so they are trained on "
            f"and never tested: {_first_few(untested)}"
        )
    if shared := listing.in_two_classes():
        pairs = [f"{first} = {second}" for first, second in shared]
        notes.append(
            f"{splits.name}: {len(shared)} images are in two classes and count in both: "
            f"{_first_few(pairs)}"
        )
    return notes


def _counts(splits: Splits) -> list[np.ndarray]:
    """Images of each class in the training and in the test split, int [C] each."""
    return [
        np.bincount(labels_of(records), minlength=splits.num_classes)
        for records in (splits.train, splits.test)
    ]


def _first_few(names: list[str]) -> str:
    return ", ".join(names[:_EXAMPLES]) + (", ..." if len(names) > _EXAMPLES else "")
