"""Loading a data set by name: prepared once, then read from the cache."""

import contextlib
import json
import pathlib
import shutil
import sys
import warnings

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
from raeg_jax.data.cache import cache_folder, reading_from, writing_to
from raeg_jax.data.caltech101 import Caltech101
from raeg_jax.data.celeba_100 import Celeba100
from raeg_jax.data.image_folder import ImageFolder
from raeg_jax.data.listing import Listing
from raeg_jax.data.mini_imagenet import MiniImagenet
from raeg_jax.data.photographs import Photographs
from raeg_jax.data.records import Records, Splits
from raeg_jax.data.summary import content_notes, summary
from raeg_jax.errors import UserError
from raeg_jax.files import write_whole
from raeg_jax.lock import locked

# A new data set is one line here.
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
    contents, labels and split of the source's files: a changed file makes another data set. Which
    content a file has is remembered in `<cache>/<dataset>/digests.json`, by its size and times.

    Args:
      settings: `config.data`.

    Raises:
      UserError: unknown data set, its files are missing (the message says what to put where) or
        can't be read, or the cache can't be written.
    """
    if settings.dataset not in DATASETS:
        raise UserError(
            f"data.dataset={settings.dataset!r} is unknown; there are {', '.join(DATASETS)}"
        )
    cache = cache_folder(settings)
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
    """Where the digests of the source's files are remembered."""
    return cache / listing.dataset / "digests.json"


def _skipped(listing: Listing, folder: pathlib.Path) -> tuple[str, ...]:
    """All that is left out now, which `skipped.json` tells as well; reasons come with names."""
    index = read_index(folder)
    with reading_from(folder):
        written = json.loads((folder / SKIPPED_FILE).read_text(encoding="utf-8"))
    skipped = [*listing.left_out, *index["unreadable"]]
    if skipped != written:
        # What isn't an image may come and go; where others' data can't be written, they stay.
        with contextlib.suppress(OSError):
            write_whole(folder / SKIPPED_FILE, skipped_text(skipped).encode())
    return tuple(skipped)


def _prepare(kind: type[ListingBuilder], listing: Listing, cache: pathlib.Path) -> None:
    """Writes the records; the folder appears only when everything is in it."""
    # What a killed run left behind; this process holds the lock, so nobody works on it.
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
        # The digest may have been remembered from another content of the same size and times.
        _memory(listing, cache).unlink(missing_ok=True)
        raise
    finally:
        tfds.enable_progress_bar()
        logging.set_verbosity(verbosity)


def _warning(splits: Splits, folder: pathlib.Path) -> str:
    total, skipped = len(splits.train) + len(splits.test), splits.skipped
    more = ", ..." if len(skipped) > 3 else ""
    return (
        f"warning: {splits.name}: {len(skipped)} files skipped, {total} kept: "
        f"{', '.join(skipped[:3])}{more} (all in {folder / SKIPPED_FILE})"
    )
