"""Any tree of class folders."""

import pathlib
from collections.abc import Iterable

from raeg_jax.data.builder import ListingBuilder
from raeg_jax.data.listing import (
    Entry,
    Listing,
    check_fraction,
    folders_in,
    held_back,
    images_in,
    loose_images,
    size_of,
    source_folder,
)
from raeg_jax.data.parts import inner, part_of, split_folders, split_root
from raeg_jax.errors import UserError
from raeg_jax.files import printable

LAYOUT = (
    "Expected: one folder a class, FOLDER/<class>/**/<image>, or FOLDER/train/<class>/... beside "
    "FOLDER/test/<class>/... (or val, validation, valid, dev, eval; in other spellings too) to "
    "keep a split of your own."
)


class ImageFolder(ListingBuilder, skip_registration=True):
    """Images in one folder a class.

    Where a training and a test part (see `parts`) hold the class folders, that split is kept; else
    a share `test_fraction` of each class is drawn for testing, by file name.
    """

    @classmethod
    def list_source(cls, settings, cache_dir) -> Listing:
        """Lists every class folder of `settings.source`."""
        del cache_dir
        source = split_root(source_folder("image_folder", settings.source, LAYOUT))
        names = folders_in(source)
        train, test = split_folders(source)
        if train:
            return _presplit(source, train, test, [name for name in names if name != train])
        if not names:
            raise UserError(f"image_folder: no class folders in {source}. {LAYOUT}")
        fraction = check_fraction(settings.test_fraction)
        found = class_images(source, names)
        return make_listing(
            "image_folder",
            found,
            draw_splits(found, fraction),
            warnings=_doubts(source, names),
            loose=loose_images(source),
        )


def class_images(source: pathlib.Path, names: Iterable[str]) -> dict[str, tuple[list, list]]:
    """Lists the images of class folders.

    Args:
      source: holds the class folders.
      names: of the class folders.

    Returns:
      class -> (images as pairs (name '<class>/...', path), other files with reasons), all names
      printable.

    Raises:
      UserError: two folders have the same printable name.
    """
    found = {}
    for folder in names:
        images, others = images_in(source / folder)
        name = printable(folder)
        if name in found:
            raise UserError(f"{source} has two folders that are written {name}: rename one")
        pairs = [(f"{name}/{printable(image)}", source / folder / image) for image in images]
        found[name] = (pairs, [f"{name}/{printable(other)}" for other in others])
    return found


def draw_splits(found: dict[str, tuple[list, list]], fraction: float) -> set[str]:
    """Draws a share of each class for testing; returns those images' names."""
    return {
        name
        for images, _ in found.values()
        for name in held_back([name for name, _ in images], fraction)
    }


def make_listing(
    dataset: str,
    found: dict[str, tuple[list, list]],
    testing: set[str],
    titles: dict[str, str] | None = None,
    notes: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
    loose: Iterable[str] = (),
) -> Listing:
    """Puts a listing together from class folders.

    Args:
      dataset: registered name.
      found: class -> (images as (name, path), other files with reasons), as of `class_images`,
        in the order of the labels.
      testing: names of the test images; the others are for training.
      titles: class -> name to show; the class itself where missing.
      notes: for the user.
      warnings: for the user.
      loose: names of images that belong to no class, with reasons.

    Raises:
      UserError: fewer than two classes, or an empty split.
    """
    classes = [name for name, (images, _) in found.items() if images]
    left_out = [other for _, others in found.values() for other in others]
    left_out += [f"{name}/ (no images in it)" for name, (images, _) in found.items() if not images]
    left_out += loose
    entries = [
        Entry(name, path, size_of(path), label, train=name not in testing)
        for label, class_name in enumerate(classes)
        for name, path in found[class_name][0]
    ]
    titles = titles or {}
    return Listing(
        dataset=dataset,
        class_names=tuple(titles.get(name, name) for name in classes),
        entries=tuple(entries),
        left_out=tuple(left_out),
        notes=notes,
        warnings=warnings,
    )


def _presplit(source: pathlib.Path, train: str, test: str | None, siblings: list[str]) -> Listing:
    """Keeps the split of a training part and of a test part beside it, with the same classes."""
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
    found: dict[str, tuple[list, list]] = {}
    testing = set()
    for part, tree in trees.items():
        for name, (images, others) in tree.items():
            pairs, rest = found.setdefault(name, ([], []))
            pairs += [(f"{part}/{image}", path) for image, path in images]
            rest += [f"{part}/{other}" for other in others]
            testing |= {f"{part}/{image}" for image, _ in images} if part == test else set()
    loose = loose_images(source)
    for part, folder in folders.items():
        loose += loose_images(folder, f"{part}/")
    found = dict(sorted(found.items()))
    return make_listing("image_folder", found, testing, notes=notes, loose=loose)


def unused_folders(source: pathlib.Path, names: Iterable[str]) -> str:
    """Names folders that are left out, with the number of images in each."""
    counts = {name: len(images_in(source / name)[0]) for name in names}
    return ", ".join(f"{printable(name)} ({count} images)" for name, count in counts.items())


def _doubts(source: pathlib.Path, names: list[str]) -> tuple[str, ...]:
    """Tells where the folders that are taken for classes look like something else."""
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
