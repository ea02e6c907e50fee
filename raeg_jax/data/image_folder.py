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
    size_of,
    source_folder,
)
from raeg_jax.data.text import printable
from raeg_jax.errors import UserError

# What people call the images they test with; the first that is there is taken.
TEST_PARTS = ("test", "val", "validation", "valid", "dev")
LAYOUT = (
    "Expected: one folder a class, FOLDER/<class>/**/<image>, or FOLDER/train/<class>/... beside "
    f"FOLDER/test/<class>/... (or {', '.join(TEST_PARTS[1:])}) to keep a split of your own."
)


class ImageFolder(ListingBuilder, skip_registration=True):
    """Images in one folder a class.

    Where `train/` and a test part (`TEST_PARTS`) hold the class folders, that split is kept; else a
    share `test_fraction` of each class is drawn for testing, by file name.
    """

    @classmethod
    def list_source(cls, settings, cache_dir) -> Listing:
        """Lists every class folder of `settings.source`."""
        del cache_dir
        source = source_folder("image_folder", settings.source, LAYOUT)
        names = folders_in(source)
        if folders_in(source / "train"):
            return _presplit(source, [name for name in names if name != "train"])
        if not names:
            raise UserError(f"image_folder: no class folders in {source}. {LAYOUT}")
        fraction = check_fraction(settings.test_fraction)
        found = class_images(source, names)
        return make_listing("image_folder", found, draw_splits(found, fraction))


def class_images(source: pathlib.Path, names: Iterable[str]) -> dict[str, tuple[list, list]]:
    """Lists the images of class folders.

    Args:
      source: holds the class folders.
      names: of the class folders.

    Returns:
      class -> (images as pairs (name '<class>/...', path), names of other files), all names
      printable.
    """
    found = {}
    for folder in names:
        images, others = images_in(source / folder)
        name = printable(folder)
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
) -> Listing:
    """Puts a listing together from class folders.

    Args:
      dataset: registered name.
      found: class -> (images as (name, path), names of other files), as of `class_images`, in the
        order of the labels.
      testing: names of the test images; the others are for training.
      titles: class -> name to show; the class itself where missing.
      notes: for the user.

    Raises:
      UserError: fewer than two classes, or an empty split.
    """
    classes = [name for name, (images, _) in found.items() if images]
    left_out = [f"{other} (not an image)" for _, others in found.values() for other in others]
    left_out += [f"{name}/ (no images in it)" for name, (images, _) in found.items() if not images]
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
    )


def _presplit(source: pathlib.Path, siblings: list[str]) -> Listing:
    """Keeps the split of `train/` and of one of the folders beside it, with the same classes."""
    test = next((part for part in TEST_PARTS if folders_in(source / part)), None)
    if not test:
        raise UserError(
            f"image_folder: {source / 'train'} holds class folders, and none beside it is a test "
            f"part with class folders (found: {', '.join(siblings) or 'nothing'}). Rename one to "
            f"test, or set --config.data.source={source / 'train'} to have test images drawn from "
            f"train; if train is a class, rename it. {LAYOUT}"
        )
    unused = ", ".join(name for name in siblings if name != test)
    notes = (f"image_folder: {test} is the test part; left out: {unused}",) if unused else ()
    trees = {
        part: class_images(source / part, folders_in(source / part)) for part in ("train", test)
    }
    untrained = sorted(set(trees[test]) - set(trees["train"]))
    if untrained:
        raise UserError(
            f"image_folder: classes of {source / test} without a folder in {source / 'train'}: "
            f"{', '.join(untrained[:5])}"
        )
    found: dict[str, tuple[list, list]] = {}
    testing = set()
    for part, tree in trees.items():
        for name, (images, others) in tree.items():
            pairs, rest = found.setdefault(name, ([], []))
            pairs += [(f"{part}/{image}", path) for image, path in images]
            rest += [f"{part}/{other}" for other in others]
            testing |= {f"{part}/{image}" for image, _ in images} if part == test else set()
    return make_listing("image_folder", dict(sorted(found.items())), testing, notes=notes)
