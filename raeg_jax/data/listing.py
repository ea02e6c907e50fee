"""The images of a data set as files, their classes and their split."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Iterable

from raeg_jax.data.cache import digests
from raeg_jax.data.source import ClassFiles, size_of
from raeg_jax.errors import UserError
from raeg_jax.files import printable

# Raised when prepared data of an older layout may no longer be reused.
FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Entry:
    """One image.

    Attributes:
      file_name: its name, unique in the data set, '/' between folders.
      path: the file that holds it.
      size: the file's size in bytes.
      label: the index of its class.
      train: whether it belongs to the training split.
      box: (left, top, right, bottom) of a crop, in pixels of the file; None for the whole image.
      digest: of the file's content; '' if it wasn't read.
      place: of an image in a record file: first byte and size in a tar, numbers of row group and
        row in a parquet file; else None.
    """

    file_name: str
    path: pathlib.Path
    size: int
    label: int
    train: bool
    box: tuple[int, int, int, int] | None = None
    digest: str = ""
    place: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Listing:
    """All images of a data set at its source, before any is read.

    Attributes:
      dataset: the registered name.
      class_names: by label.
      entries: the images; their order is the order in the prepared data.
      left_out: files that aren't images by their names, and the like, each with a reason.
      notes: sentences for the user.
      extra_files: name -> text of files written beside the prepared data.
      warnings: sentences for the user on probable mistakes.
    """

    dataset: str
    class_names: tuple[str, ...]
    entries: tuple[Entry, ...]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    extra_files: dict[str, str] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "class_names", tuple(map(printable, self.class_names)))
        if len(self.class_names) < 2:
            raise UserError(
                f"{self.dataset}: found {len(self.class_names)} classes "
                f"({', '.join(self.class_names)}), a classifier needs at least 2: check whether "
                "config.data.source is the folder that holds the classes"
            )
        for train, split in ((True, "training"), (False, "test")):
            if not any(entry.train == train for entry in self.entries):
                raise UserError(
                    f"{self.dataset}: no {split} images among the {len(self.entries)} found; "
                    "classes need at least 2 images each to be split"
                )

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the files' names, contents, labels and split."""
        rows = [
            (e.file_name, e.size, e.label, e.train, e.box, e.digest, *filter(None, (e.place,)))
            for e in self.entries
        ]
        text = json.dumps([FORMAT_VERSION, self.dataset, self.class_names, rows])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def with_contents(self, memory: pathlib.Path) -> "Listing":
        """The same listing with the digest of every file."""
        # Record files may be of any size.
        any_size = any(entry.place for entry in self.entries)
        read = digests((entry.path for entry in self.entries), memory, any_size)
        entries = (dataclasses.replace(entry, digest=read[entry.path]) for entry in self.entries)
        return dataclasses.replace(self, entries=tuple(entries))

    def in_two_classes(self) -> list[tuple[str, str]]:
        """Pairs of names of images that are the same in every byte but have different classes."""
        first: dict[tuple, Entry] = {}
        pairs = []
        for entry in self.entries:
            other = first.setdefault((entry.digest, entry.box, entry.place), entry)
            if entry.digest and other.label != entry.label:
                pairs.append((other.file_name, entry.file_name))
        return pairs


def make_listing(
    dataset: str,
    classes: ClassFiles,
    testing: set[str],
    titles: dict[str, str] | None = None,
    notes: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
    loose: Iterable[str] = (),
) -> Listing:
    """Puts a listing together from class folders.

    Args:
      dataset: registered name.
      classes: in the order of the labels.
      testing: names of the test images; the others are for training.
      titles: class -> name to show; the class itself where missing.
      notes: for the user.
      warnings: for the user.
      loose: names of images that belong to no class, with reasons.

    Raises:
      UserError: fewer than two classes, or an empty split.
    """
    filled = [name for name, (images, _) in classes.items() if images]
    left_out = [other for _, others in classes.values() for other in others]
    left_out += [
        f"{name}/ (no images in it)" for name, (images, _) in classes.items() if not images
    ]
    left_out += loose
    entries = [
        Entry(name, path, size_of(path), label, train=name not in testing)
        for label, class_name in enumerate(filled)
        for name, path in classes[class_name][0]
    ]
    titles = titles or {}
    return Listing(
        dataset=dataset,
        class_names=tuple(titles.get(name, name) for name in filled),
        entries=tuple(entries),
        left_out=tuple(left_out),
        notes=notes,
        warnings=warnings,
    )


def draw_splits(classes: ClassFiles, fraction: float) -> set[str]:
    """Draws a share of each class for testing; returns the names of the drawn images."""
    return {
        name
        for images, _ in classes.values()
        for name in held_back([name for name, _ in images], fraction)
    }


def held_back(names: Iterable[str], fraction: float) -> set[str]:
    """Draws a class's test images.

    The draw depends on the names alone (their SHA-256), so it is the same on every machine and
    in every order, and hardly changes when a few files come or go.

    Args:
      names: of all images of one class.
      fraction: share that is drawn; at least one image stays on each side where there are two.
    """
    ordered = sorted(names, key=lambda name: (hashlib.sha256(name.encode()).digest(), name))
    count = min(max(round(fraction * len(ordered)), 1), len(ordered) - 1)
    return set(ordered[: max(count, 0)])
