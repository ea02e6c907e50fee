"""CelebA, the 100 identities with most images; class = identity."""

import collections
import pathlib
import reprlib
from collections.abc import Iterator

from raeg_jax.data.builder import ListingBuilder
from raeg_jax.data.listing import Entry, Listing, held_back
from raeg_jax.data.source import read_text, source_folder
from raeg_jax.errors import UserError
from raeg_jax.files import user_path

IDENTITIES = 100
LIST_FILE = "celeba_100.txt"
IDENTITY_FILE = "identity_CelebA.txt"
IMAGE_FOLDER = "img_align_celeba"
_MOST_DIGITS = 18
LAYOUT = (
    f"Expected: FOLDER/{IMAGE_FOLDER}/NNNNNN.jpg and FOLDER/{IDENTITY_FILE} "
    "(rows 'file identity'). Get img_align_celeba.zip (folder Img) and identity_CelebA.txt "
    "(folder Anno) from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and unpack the zip."
)


class Celeba100(ListingBuilder):
    """CelebA (Liu et al., 2015) by identity, for classification.

    The 100 identities with most images; of equally many, the smaller identity number goes first.
    Classes are numbered by identity. The choice is written as rows 'file identity class' to
    `celeba_100.txt` beside the prepared data; given back as `config.data.list_file` it
    makes the same data set. A share `test_fraction` of each identity's images is for testing.
    """

    @classmethod
    def list_source(cls, settings, cache_dir) -> Listing:
        """Reads the identity file, or the user's list file, and lists the images."""
        del cache_dir
        source = source_folder("celeba_100", settings.source, LAYOUT)
        images = _image_folder(source)
        notes: tuple[str, ...] = ()
        if settings.list_file:
            rows = read_list(user_path(settings.list_file))
        else:
            identities = read_identities(_identity_file(source))
            rows = choose(identities)
            count = len({identity for _, identity, _ in rows})
            if count < IDENTITIES:
                notes = (f"celeba_100: {IDENTITY_FILE} has only {count} identities; all are used",)
        return _listing(rows, images, settings.test_fraction, notes)


def read_identities(path: pathlib.Path) -> dict[str, int]:
    """Reads rows 'file identity'; returns file -> identity.

    Raises:
      UserError: a row has another form, or names a file for a second time.
    """
    identities = {}
    for number, (name, identity) in _rows(path, "file identity"):
        if name in identities:
            raise UserError(f"{path}, line {number}: {name} is listed twice")
        identities[name] = _integer(path, number, identity)
    return identities


def choose(identities: dict[str, int], count: int = IDENTITIES) -> list[tuple[str, int, int]]:
    """Chooses the identities with most images.

    Args:
      identities: file -> identity.
      count: how many are chosen, or all if there are fewer.

    Returns:
      Rows (file, identity, class), sorted by class and file.
    """
    sizes = collections.Counter(identities.values())
    ranked = sorted(sizes, key=lambda identity: (-sizes[identity], identity))
    classes = {identity: label for label, identity in enumerate(sorted(ranked[:count]))}
    rows = [
        (name, identity, classes[identity])
        for name, identity in identities.items()
        if identity in classes
    ]
    return sorted(rows, key=lambda row: (row[2], row[0]))


def read_list(path: pathlib.Path) -> list[tuple[str, int, int]]:
    """Reads rows 'file identity class', as `choose` returns them.

    Raises:
      UserError: no such file, a row of another form, a file listed twice, a class with two
        identities or without images.
    """
    if not path.is_file():
        raise UserError(f"celeba_100: no list file {path} (config.data.list_file)")
    rows, seen = [], set()
    identity_of: dict[int, int] = {}
    for number, (name, *numbers) in _rows(path, "file identity class"):
        identity, label = (_integer(path, number, value) for value in numbers)
        if name in seen:
            raise UserError(f"{path}, line {number}: {name} is listed twice")
        if identity_of.setdefault(label, identity) != identity:
            raise UserError(
                f"{path}, line {number}: class {label} has the identities "
                f"{identity_of[label]} and {identity}"
            )
        seen.add(name)
        rows.append((name, identity, label))
    if sorted(identity_of) != list(range(len(identity_of))):
        raise UserError(
            f"{path}: classes must be numbered 0, 1, ... without gaps, they are "
            f"{sorted(identity_of)[:5]}..."
        )
    return sorted(rows, key=lambda row: (row[2], row[0]))


def _listing(
    rows: list[tuple[str, int, int]],
    images: pathlib.Path,
    fraction: float,
    notes: tuple[str, ...],
) -> Listing:
    by_class = collections.defaultdict(list)
    for name, identity, label in rows:
        by_class[label, identity].append(name)
    testing = {name for names in by_class.values() for name in held_back(names, fraction)}
    entries, missing = [], []
    for name, _, label in rows:
        path = images / name
        try:
            size = path.stat().st_size
        except OSError:
            missing.append(name)
            continue
        entries.append(Entry(name, path, size, label, train=name not in testing))
    if missing:
        raise UserError(
            f"celeba_100: {len(missing)} of {len(rows)} listed images are missing from {images}: "
            f"{', '.join(missing[:5])}. {LAYOUT}"
        )
    text = "".join(f"{name} {identity} {label}\n" for name, identity, label in rows)
    class_names = tuple(str(identity) for _, identity in sorted(by_class))
    return Listing("celeba_100", class_names, tuple(entries), (), notes, {LIST_FILE: text})


def _image_folder(source: pathlib.Path) -> pathlib.Path:
    # The zip unpacks to a folder of its own name, which in some copies holds another such folder.
    for parent in (source, source / "Img"):
        for folder in (parent / IMAGE_FOLDER / IMAGE_FOLDER, parent / IMAGE_FOLDER):
            if folder.is_dir():
                return folder
    raise UserError(f"celeba_100: no folder {source / IMAGE_FOLDER}. {LAYOUT}")


def _identity_file(source: pathlib.Path) -> pathlib.Path:
    for path in (source / IDENTITY_FILE, source / "Anno" / IDENTITY_FILE):
        if path.is_file():
            return path
    raise UserError(f"celeba_100: no file {source / IDENTITY_FILE}. {LAYOUT}")


def _rows(path: pathlib.Path, form: str) -> Iterator[tuple[int, list[str]]]:
    """Yields (line number, fields) of a text file; empty lines and '#' comments are left out."""
    for number, line in enumerate(read_text(path).splitlines(), 1):
        fields = line.split("#")[0].split()
        if not fields:
            continue
        if len(fields) != len(form.split()):
            raise UserError(f"{path}, line {number}: expected '{form}', found {reprlib.repr(line)}")
        yield number, fields


def _integer(path: pathlib.Path, number: int, text: str) -> int:
    if not text.isdecimal() or len(text) > _MOST_DIGITS:
        raise UserError(
            f"{path}, line {number}: expected a whole number, found {reprlib.repr(text)}"
        )
    return int(text)
