"""The data set of any tree of class folders, or of record files with classes."""

import os
import pathlib

from raeg_jax.data import decode
from raeg_jax.data.builder import ChangedError, ListingBuilder
from raeg_jax.data.listing import Entry, Listing, draw_splits, make_listing
from raeg_jax.data.parts import inner, part_of, split_folders, split_root
from raeg_jax.data.record_listing import RecordReader, list_records, record_names
from raeg_jax.data.source import (
    ClassFiles,
    class_images,
    folders_in,
    loose_images,
    source_folder,
    unused_folders,
)
from raeg_jax.errors import UserError
from raeg_jax.files import printable

LAYOUT = (
    "Expected: one folder a class, FOLDER/<class>/**/<image>, or FOLDER/train/<class>/... beside "
    "FOLDER/test/<class>/... (or val, validation, valid, dev, eval; in other spellings too) to "
    "keep a split of your own; or files of WebDataset (.tar) or of parquet with classes."
)


class ImageFolder(ListingBuilder):
    """Images in one folder a class.

    If a training and a test part (see `parts`) hold the class folders, that split is used; else
    a share `test_fraction` of each class is drawn for testing, by file name. A folder of tars or
    parquet files, and without images, is listed by `record_listing`.
    """

    def __init__(self, listing: Listing, data_dir: os.PathLike | str):
        super().__init__(listing, data_dir)
        self._reader = RecordReader()
        self._before = self._record_files()

    @classmethod
    def list_source(cls, settings, cache_dir) -> Listing:
        """Lists every class folder of `settings.source`."""
        del cache_dir
        folder = source_folder("image_folder", settings.source, LAYOUT)
        if records := record_names(folder):
            return list_records("image_folder", folder, records, settings.test_fraction)
        source = split_root(folder)
        names = folders_in(source)
        train, test = split_folders(source)
        if train:
            return _presplit(source, train, test, [name for name in names if name != train])
        if not names:
            raise UserError(f"image_folder: no class folders in {source}. {LAYOUT}")
        classes = class_images(source, names)
        return make_listing(
            "image_folder",
            classes,
            draw_splits(classes, settings.test_fraction),
            warnings=_warnings(source, names),
            loose=loose_images(source),
        )

    def read(self, entry: Entry) -> bytes:
        """See `ListingBuilder`."""
        if entry.place is None:
            return super().read(entry)
        return decode.storable(self._reader.read(entry))

    def _check_written(self) -> None:
        if self._record_files() != self._before:
            raise ChangedError(
                "image_folder: record files changed while the data were prepared: run the same "
                "command again when nothing writes to them"
            )
        super()._check_written()

    def _record_files(self) -> dict[pathlib.Path, tuple[int, int]]:
        """Sizes and times of the record files; none where one is gone."""
        paths = {entry.path for entry in self.listing.entries if entry.place}
        try:
            statuses = {path: path.stat() for path in paths}
        except OSError:
            return {}
        return {path: (one.st_size, one.st_mtime_ns) for path, one in statuses.items()}


def _presplit(source: pathlib.Path, train: str, test: str | None, siblings: list[str]) -> Listing:
    """Lists a training part and a test part beside it, with the same classes: the user's split."""
    if not test:
        raise UserError(
            f"image_folder: {source / train} holds class folders, and none beside it is a test "
            f"part with class folders (found: {', '.join(siblings) or 'nothing'}). Rename one to "
            f"test, or set --config.data.source={source / train} to have test images drawn from "
            f"{train}; if {train} is a class, rename it. {LAYOUT}"
        )
    unused = unused_folders(source, (name for name in siblings if name != test))
    notes = (f"image_folder: {test} is the test part; left out: {unused}",) if unused else ()
    folders = {part: inner(source / part) for part in (train, test)}
    trees = {part: class_images(folder, folders_in(folder)) for part, folder in folders.items()}
    untrained = sorted(set(trees[test]) - set(trees[train]))
    if untrained:
        raise UserError(
            f"image_folder: classes of {source / test} without a folder in {source / train}: "
            f"{', '.join(untrained[:5])}; rename them, or set "
            f"--config.data.source={source / train} to have test images drawn from {train}"
        )
    classes: ClassFiles = {}
    testing: set[str] = set()
    for part, tree in trees.items():
        for name, (images, others) in tree.items():
            pairs, rest = classes.setdefault(name, ([], []))
            pairs += [(f"{part}/{image}", path) for image, path in images]
            rest += [f"{part}/{other}" for other in others]
            testing |= {f"{part}/{image}" for image, _ in images} if part == test else set()
    loose = loose_images(source)
    for part, folder in folders.items():
        loose += loose_images(folder, f"{part}/")
    return make_listing(
        "image_folder", dict(sorted(classes.items())), testing, notes=notes, loose=loose
    )


def _warnings(source: pathlib.Path, names: list[str]) -> tuple[str, ...]:
    """Warnings about folders that are taken for classes and look like something else."""
    below = {tuple(folders_in(source / name)) for name in names}
    shown = f"{', '.join(map(printable, names[:5]))}{', ...' if len(names) > 5 else ''}"
    if len(names) > 1 and len(below) == 1 and (inside := below.pop()):
        return (
            f"image_folder: all classes ({shown}) hold the same sub-folders "
            f"({', '.join(map(printable, inside[:5]))}): if those are the classes, set "
            "--config.data.source to the folder that holds them",
        )
    if all(part_of(name) for name in names):
        return (f"image_folder: the classes ({shown}) are named like parts of a split",)
    return ()
