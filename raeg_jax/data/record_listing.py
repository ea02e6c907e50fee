"""The images of WebDataset tars or parquet files as a data set with classes and a split."""

import bisect
import collections
import dataclasses
import os
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from raeg_jax.data import tar_samples
from raeg_jax.data.decode import UnreadableImageError
from raeg_jax.data.listing import Entry, Listing, held_back
from raeg_jax.data.parquet_images import LABEL, open_parquet
from raeg_jax.data.parts import ORDER, TRAIN, part_of
from raeg_jax.data.source import EXTENSIONS, holds_image
from raeg_jax.errors import UserError
from raeg_jax.files import open_file, printable

_SUFFIXES = (".tar", ".parquet")


class _Found(NamedTuple):
    """An image, and what its class is called; the entry has no label yet."""

    entry: Entry
    class_name: str


@dataclasses.dataclass
class _Content:
    """What is in record files.

    Attributes:
      images: in order.
      left_out: images and samples that can't be used, each with a reason.
      class_names: in the order that the files say; empty where they don't.
    """

    images: list[_Found] = dataclasses.field(default_factory=list)
    left_out: list[str] = dataclasses.field(default_factory=list)
    class_names: Sequence[str] = ()


def record_names(folder: pathlib.Path) -> list[str]:
    """Names of the record files in a folder, '/' between folders; none in one with images.

    Raises:
      UserError: there are record files of two kinds.
    """
    if holds_image(folder):
        return []
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*"))]
    names = [
        path.as_posix()
        for path in paths
        if path.suffix in _SUFFIXES and not any(part.startswith(".") for part in path.parts)
    ]
    kinds = sorted({os.path.splitext(name)[1] for name in names})
    if len(kinds) > 1:
        raise UserError(f"{folder} holds {' and '.join(kinds)} files: name a folder of one kind")
    return names


def list_records(
    dataset: str, folder: pathlib.Path, names: Sequence[str], test_fraction: float
) -> Listing:
    """Lists the images in record files.

    Files that are named as training and test part, such as `train-0001.tar` and `val/0001.tar`, are
    the split; else a share of each class is drawn for testing, by names.

    Args:
      dataset: its registered name.
      folder: of the record files.
      names: as `record_names` returns them.
      test_fraction: share that is drawn.

    Raises:
      UserError: a file can't be read, or doesn't say the classes of its images.
    """
    training, testing, unused = _split(names)
    content = _Content()
    read = _read_tars if names[0].endswith(".tar") else _read_parquet
    for part in (training, testing):
        read(folder, part, content)
    if not content.images:
        shown = f" ({content.left_out[0]})" if content.left_out else ""
        raise UserError(
            f"{dataset}: no image with a class is in the {len(names)} files of {folder}{shown}: "
            "samples of a tar say it in a member .cls or .json, parquet files in a column of "
            f"ClassLabel or one that is called {LABEL}"
        )
    found = {image.class_name for image in content.images}
    class_names = [name for name in content.class_names if name in found]
    # Numbers in their order: '10' comes after '9'.
    others = found.difference(class_names)
    class_names += sorted(others, key=lambda name: (name.isdecimal() and int(name), name))
    of_class = collections.defaultdict(list)
    for image in content.images:
        of_class[image.class_name].append(image.entry.file_name)
    drawn = {name for all_of in of_class.values() for name in held_back(all_of, test_fraction)}
    of_test = set(testing)
    labels = {name: label for label, name in enumerate(class_names)}
    entries = [
        dataclasses.replace(
            image.entry,
            label=labels[image.class_name],
            train=(
                image.entry.path.relative_to(folder).as_posix() not in of_test
                if testing
                else image.entry.file_name not in drawn
            ),
        )
        for image in content.images
    ]
    notes = []
    if testing:
        left = f"; left out: {', '.join(unused)}" if unused else ""
        notes.append(f"{dataset}: {', '.join(testing)} is the test part{left}")
    return Listing(
        dataset, tuple(class_names), tuple(entries), tuple(content.left_out), tuple(notes)
    )


class RecordReader:
    """Reads images of record files by their entries; for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Of the row group that was read last: where it is, and its images by number.
        self._group: tuple[pathlib.Path, int] | None = None
        self._images: Mapping[int, bytes | None] = {}

    def read(self, entry: Entry) -> bytes:
        """Returns an encoded image file.

        Raises:
          UnreadableImageError: there is none.
          OSError, UserError: the record file can't be read.
        """
        assert entry.place is not None, "the entry is of a record file"
        first, second = entry.place
        if entry.path.suffix == ".tar":
            with open_file(entry.path) as file:
                file.seek(first)
                return file.read(second)
        with self._lock:
            if self._group != (entry.path, first):
                rows = open_parquet(entry.path).rows([first])
                self._images = {row.number: row.image for row in rows}
                self._group = entry.path, first
            image = self._images.get(second)
        if not image:
            raise UnreadableImageError("no bytes of an image")
        return image


def _split(names: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Returns the files of training and test part, and others; all are of one without a test."""
    parts = collections.defaultdict(list)
    for name in names:
        spelled = [part for piece in reversed(name.split("/")) if (part := part_of(piece))]
        parts[spelled[0].spelling if spelled else ""].append(name)
    training = [name for spelling in parts if _is_training(spelling) for name in parts[spelling]]
    tests = [spelling for spelling in ORDER if spelling in parts and not _is_training(spelling)]
    if not training or not tests:
        return list(names), [], []
    testing = parts[tests[0]]
    return training, testing, sorted(set(names).difference(training, testing))


def _is_training(spelling: str) -> bool:
    part = part_of(spelling)
    return part is not None and part.part == TRAIN


def _read_tars(folder: pathlib.Path, names: Sequence[str], content: _Content) -> None:
    class_names = tar_samples.class_names_in(folder)
    content.class_names = class_names
    for name in names:
        path = folder / name
        for sample in tar_samples.read_samples(path):
            try:
                image, class_name = sample.image(EXTENSIONS), sample.class_text(class_names)
            except UserError as error:
                content.left_out.append(str(error))
                continue
            if class_name is None:
                content.left_out.append(f"{name}/{image.name} (no class)")
                continue
            file_name = printable(f"{name}/{image.name}")
            place = image.data, image.size
            entry = Entry(file_name, path, image.size, 0, True, place=place)
            content.images.append(_Found(entry, class_name))


def _read_parquet(folder: pathlib.Path, names: Sequence[str], content: _Content) -> None:
    for name in names:
        images = open_parquet(folder / name)
        column, classes = LABEL, None
        if len(images.labels) == 1:
            ((column, classes),) = images.labels.items()
            content.class_names = content.class_names or classes
        elif column not in images.schema.names:
            content.left_out.append(f"{name} (no column says the classes)")
            continue
        sizes = list(images.sizes())
        for number, value in enumerate(images.values(column)):
            class_name = _class_name(value, classes)
            file_name = printable(f"{name}/{number}")
            if class_name is None:
                content.left_out.append(f"{file_name} (no class)")
                continue
            group = bisect.bisect_right(images.first_rows, number) - 1
            entry = Entry(file_name, images.path, sizes[group], 0, True, place=(group, number))
            content.images.append(_Found(entry, class_name))


def _class_name(value: object, classes: Sequence[str] | None) -> str | None:
    if classes is None:
        return None if value is None else str(value)
    if isinstance(value, int) and 0 <= value < len(classes):
        return classes[value]
    return None
