"""Loading a data set by name: prepared once, then read from the cache."""

import dataclasses
import json
import pathlib
import shutil
import sys
import warnings

import tensorflow_datasets as tfds
from absl import logging
from ml_collections import ConfigDict
from PIL import Image

from raeg_jax.data.builder import INDEX_FILE, SKIPPED_FILE, ListingBuilder
from raeg_jax.data.cache import cache_folder, writing_to
from raeg_jax.data.caltech101 import Caltech101
from raeg_jax.data.celeba_100 import Celeba100
from raeg_jax.data.image_folder import ImageFolder
from raeg_jax.data.mini_imagenet import MiniImagenet
from raeg_jax.data.photographs import Photographs
from raeg_jax.data.records import Records
from raeg_jax.errors import UserError
from raeg_jax.lock import locked

# A new data set is one line here.
DATASETS: dict[str, type[ListingBuilder]] = {
    "photographs": Photographs,
    "celeba_100": Celeba100,
    "caltech101": Caltech101,
    "mini_imagenet": MiniImagenet,
    "image_folder": ImageFolder,
}


@dataclasses.dataclass(frozen=True)
class Splits:
    """A data set ready for reading.

    Attributes:
      train: records `{"image": bytes, "label": int, "file_name": str}` to fit on.
      test: the same, unseen in training.
      class_names: one a label.
      skipped: files left out of the data set, each with its reason.
      name: of the data set.
      fingerprint: 16 digits that change with the images, their labels and their split.
    """

    train: Records
    test: Records
    class_names: tuple[str, ...]
    skipped: tuple[str, ...]
    name: str
    fingerprint: str

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)


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
    listing = listing.with_contents(cache / listing.dataset / "digests.json")
    parent = cache / listing.dataset / listing.fingerprint
    folder = parent / str(kind.VERSION)
    with writing_to(cache):
        if not folder.is_dir():
            parent.mkdir(parents=True, exist_ok=True)
            with locked(parent / "lock"):
                if not folder.is_dir():
                    _prepare(kind, listing, cache)
    skipped = tuple(json.loads((folder / SKIPPED_FILE).read_text()))
    for note in listing.notes:
        print(f"note: {note}", file=sys.stderr)
    if skipped:
        print(_warning(listing.dataset, skipped, folder), file=sys.stderr)
    return Splits(
        train=Records(folder, "train"),
        test=Records(folder, "test"),
        class_names=listing.class_names,
        skipped=skipped,
        name=listing.dataset,
        fingerprint=listing.fingerprint,
    )


def _prepare(kind: type[ListingBuilder], listing, cache: pathlib.Path) -> None:
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
    finally:
        tfds.enable_progress_bar()
        logging.set_verbosity(verbosity)


def _warning(dataset: str, skipped: tuple[str, ...], folder: pathlib.Path) -> str:
    total = sum(len(rows) for rows in json.loads((folder / INDEX_FILE).read_text()).values())
    more = ", ..." if len(skipped) > 3 else ""
    return (
        f"warning: {dataset}: {len(skipped)} files skipped, {total} kept: "
        f"{', '.join(skipped[:3])}{more} (all in {folder / SKIPPED_FILE})"
    )
