"""Caltech-101: 101 object classes, 30 training images each."""

import os
import pathlib
import shutil
import tarfile
import zipfile

import numpy as np
import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import checksums, util
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

from raeg_jax.data.builder import ListingBuilder
from raeg_jax.data.cache import writing_to
from raeg_jax.data.listing import Listing, make_listing
from raeg_jax.data.source import ClassFiles, class_images, folders_in, loose_images, source_folder
from raeg_jax.errors import UserError
from raeg_jax.lock import locked

TREE = "101_ObjectCategories"
BACKGROUND = "background_google"
URL = "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip?download=1"
# As registered by TFDS's own builder.
CHECKSUM = "331234750fc7f77520e50d9565e8b6907b03565e30320da1401130db08c61f91"
SIZE = 137414764
LAYOUT = (
    f"Expected: FOLDER/{TREE}/<class>/image_NNNN.jpg. Get caltech-101.zip from "
    f"https://doi.org/10.22002/D1.20086 and unpack it and the {TREE}.tar.gz in it; "
    "without config.data.source it is downloaded."
)
TRAIN_PER_CLASS = 30


class Caltech101(ListingBuilder):
    """Caltech-101 without its background class (Fei-Fei et al., 2004).

    The split follows TFDS's own builder: 30 images of each class, drawn by NumPy's legacy generator
    with seed 1234, train; the others test. TFDS draws in the order in which the file system lists
    the folders, which differs between machines; here classes and files are drawn in
    sorted order, the background class left out.
    """

    @classmethod
    def list_source(cls, settings, cache_dir) -> Listing:
        """Lists `<source>/101_ObjectCategories`, downloading it where `source` is ''."""
        source = settings.source or download(pathlib.Path(cache_dir) / "downloads")
        tree = _tree(source_folder("caltech101", str(source), LAYOUT))
        names = sorted(folders_in(tree), key=str.lower)
        background = [name for name in names if name.lower() == BACKGROUND]
        classes = class_images(tree, [name for name in names if name not in background])
        return make_listing(
            "caltech101",
            classes,
            draw_tfds_split(classes),
            # Names and order as in TFDS.
            titles={name: name.lower() for name in classes},
            notes=tuple(f"caltech101: the class {name} is left out" for name in background),
            loose=loose_images(tree),
        )


def draw_tfds_split(classes: ClassFiles) -> set[str]:
    """Draws 30 training images a class and returns the names of the others.

    Args:
      classes: in the order of the draw.

    Raises:
      UserError: a class has fewer than 30 images.
    """
    generator = np.random.RandomState(1234)
    testing = set()
    for class_name, (images, _) in classes.items():
        names = [name for name, _ in images]
        if len(names) < TRAIN_PER_CLASS:
            raise UserError(
                f"caltech101: class {class_name} has {len(names)} images, the split takes "
                f"{TRAIN_PER_CLASS} for training; use --config.data.dataset=image_folder for a part"
            )
        training = generator.choice(names, TRAIN_PER_CLASS, replace=False)
        testing |= set(names) - set(training.tolist())
    return testing


def download(folder: pathlib.Path) -> pathlib.Path:
    """Downloads and unpacks the official archive with TFDS's download manager.

    Args:
      folder: stays for later runs; a complete tree in it is used again.

    Returns:
      The folder that holds `101_ObjectCategories`.

    Raises:
      UserError: no network, the archive isn't what TFDS knows, or `folder` can't be written.
    """
    unpacked = folder / "caltech101"
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "caltech101.lock"):
            if not unpacked.is_dir():
                _unpack(_fetch(folder), unpacked)
    return unpacked


def _fetch(folder: pathlib.Path) -> pathlib.Path:
    try:
        # The download manager would retry for minutes before it gave up. It uses the same
        # library, so this request goes the same way, through a proxy if there is one.
        with requests.get(URL, stream=True, timeout=10) as answer:
            answer.raise_for_status()
        infos = {URL: checksums.UrlInfo(SIZE, CHECKSUM, "caltech-101.zip")}
        manager = tfds.download.DownloadManager(download_dir=folder, url_infos=infos)
        return pathlib.Path(manager.download(URL))
    except (OSError, util.DownloadError, NonMatchingChecksumError) as error:
        raise UserError(
            f"caltech101: config.data.source is '' and {URL} can't be downloaded "
            f"({error}). Set --config.data.source=FOLDER. {LAYOUT}"
        ) from error


def _unpack(archive: pathlib.Path, target: pathlib.Path) -> None:
    """Unpacks the tree; `target` appears only when it is complete.

    (TFDS's own extraction needs TensorFlow.)
    """
    # This process holds the lock: a killed run left the files there.
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    with (
        zipfile.ZipFile(archive) as outer,
        outer.open(f"caltech-101/{TREE}.tar.gz") as inner,
        tarfile.open(fileobj=inner, mode="r|gz") as tar,
    ):
        # Not `extractall`, which keeps the archive's permissions before Python 3.11.4. The archive
        # is the one that TFDS knows, by its checksum: its paths lead nowhere else.
        for member in tar:
            if (content := tar.extractfile(member)) is not None:
                path = unfinished / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
    os.replace(unfinished, target)


def _tree(source: pathlib.Path) -> pathlib.Path:
    """Finds the folder of class folders."""
    for candidate in (source / TREE, source / "caltech-101" / TREE, source):
        if candidate.name == TREE and folders_in(candidate):
            return candidate
    raise UserError(f"caltech101: no class folders in {source / TREE}. {LAYOUT}")
