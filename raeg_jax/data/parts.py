"""Recognises folders that are parts of a split, as in train/<class>/ beside test/<class>/."""

import dataclasses
import itertools
import pathlib
import re

from raeg_jax.data.source import folders_in, holds_image

TRAIN = "train"
# Spelling -> part; if several folders can be the test part, the first in this order is.
_SPELLINGS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "validation", "valid", "validate", "validating"), "val"),
    "dev": "dev",
    **dict.fromkeys(("eval", "evaluation"), "eval"),
}
ORDER = tuple(_SPELLINGS)
# Words beside which a part is still a part: Training_set, test images, trainset.
_FILLERS = {"set", "data", "dataset", "image", "images", "img", "imgs", "folder", "split"}
# Levels of folders that hold a single folder: links may lead round in circles.
_DEPTH = 4
_WORD = re.compile(r"[^\W\d_]+|\d+")
_RUN_TOGETHER = re.compile(rf"({'|'.join(_SPELLINGS)})({'|'.join(_FILLERS)})")


@dataclasses.dataclass(frozen=True)
class Part:
    """The meaning of a folder's name.

    Attributes:
      part: "train", "test", "val", "dev" or "eval".
      spelling: of the part, in small letters.
      rest: the name's other words: seg_train and seg_test belong together, as bullet_train and
        test_tube do not.
    """

    part: str
    spelling: str
    rest: tuple[str, ...]


def part_of(name: str) -> Part | None:
    """Interprets the name of a folder or file in any case; None if it names no part, or two."""
    words = _WORD.findall(_RUN_TOGETHER.sub(r"\1 \2", name.lower()))
    spelled = [word for word in words if word in _SPELLINGS]
    if len(spelled) != 1:
        return None
    rest = tuple(word for word in words if word not in _SPELLINGS and word not in _FILLERS)
    return Part(_SPELLINGS[spelled[0]], spelled[0], rest)


def inner(folder: pathlib.Path) -> pathlib.Path:
    """The folder of a part's class folders: the inner one of seg_train/seg_train/<class>."""
    for _ in range(_DEPTH):
        names = folders_in(folder)
        if len(names) != 1 or not folders_in(folder / names[0]):
            break
        same = names[0].casefold() == folder.name.casefold()
        part, above = part_of(names[0]), part_of(folder.name)
        same_part = part and above and part.part == above.part
        fills = set(_WORD.findall(names[0].lower())) <= _FILLERS
        if not (same or same_part or fills):
            break
        folder /= names[0]
    return folder


def split_folders(source: pathlib.Path) -> tuple[str | None, str | None]:
    """Finds the two folders of a split, each with class folders.

    Args:
      source: the folder that may hold them.

    Returns:
      The names of the training and of the test part. Without a test part the second is None, and
      the first is None too unless the name says nothing else than "train". A part named "test" is
      preferred to one for validation.
    """
    named = [(name, part) for name in folders_in(source) if (part := part_of(name))]
    parts = [(name, part) for name, part in named if folders_in(inner(source / name))]
    training = sorted(
        ((name, part) for name, part in parts if part.part == TRAIN),
        key=lambda pair: (len(pair[1].rest), pair[0] != TRAIN, pair[0]),
    )
    for name, part in training:
        tests = [
            (ORDER.index(other.spelling), test)
            for test, other in parts
            if other.part != TRAIN and other.rest == part.rest
        ]
        if tests:
            return name, min(tests)[1]
    alone = [name for name, part in training if not part.rest]
    return (alone[0] if alone else None), None


def split_root(source: pathlib.Path) -> pathlib.Path:
    """The source, or the folder below it that holds a split, if no images are beside that folder.

    Folders without images, which archives often hold (`labels`, `__MACOSX`), don't count.
    """
    folder = source
    for _ in range(_DEPTH):
        if split_folders(folder)[1]:
            return folder
        with_images = (name for name in folders_in(folder) if holds_image(folder / name))
        names = list(itertools.islice(with_images, 2))
        if len(names) != 1:
            break
        folder /= names[0]
    return source
