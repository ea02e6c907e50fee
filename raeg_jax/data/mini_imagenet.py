"""Mini-ImageNet: 100 classes of 600 images, split within classes."""

import collections
import contextlib
import csv
import io
import pathlib
from collections.abc import Iterator

from raeg_jax.data.builder import ListingBuilder
from raeg_jax.data.image_folder import class_images, draw_splits, make_listing, unused_folders
from raeg_jax.data.listing import (
    Listing,
    check_fraction,
    folders_in,
    loose_images,
    source_folder,
)
from raeg_jax.data.parts import TRAIN, inner, part_of
from raeg_jax.data.text import read_text
from raeg_jax.errors import UserError
from raeg_jax.files import printable

NAMES_FILE = "class_names.txt"
LAYOUT = (
    "Expected: class folders FOLDER/<wnid>/*.jpg, or FOLDER/{train,val,test}/<wnid>/*.jpg, or "
    "FOLDER/images/*.jpg with FOLDER/{train,val,test}.csv (rows 'filename,label'). Make it from "
    "ImageNet (https://image-net.org) with the csv files of "
    "https://github.com/twitter-research/meta-learning-lstm/tree/master/data/miniImagenet."
)


class MiniImagenet(ListingBuilder, skip_registration=True):
    """Mini-ImageNet (Vinyals et al., 2016; classes of Ravi and Larochelle, 2017).

    Its own parts hold different classes, for few-shot learning. RAEG classifies, so the classes
    of all parts are merged and a share `test_fraction` of each class's images is drawn for
    testing, by file name. `class_names.txt` (rows 'wnid<tab>names'), where present, names the
    classes.
    """

    @classmethod
    def list_source(cls, settings, cache_dir) -> Listing:
        """Lists class folders, or `images/` by the csv files."""
        del cache_dir
        source = source_folder("mini_imagenet", settings.source, LAYOUT)
        tables = [path for path in source.glob("*.csv") if _is_part(path.stem)]
        tables.sort(key=lambda path: (part_of(path.stem).part != TRAIN, path.name))
        notes, loose = (), []
        if tables:
            found = read_tables(tables, source / "images")
        else:
            found = read_folders(source)
            notes, loose = _unused(source)
        found = dict(sorted(found.items()))
        testing = draw_splits(found, check_fraction(settings.test_fraction))
        titles = read_titles(source / NAMES_FILE)
        return make_listing("mini_imagenet", found, testing, titles, notes, loose=loose)


def read_folders(source: pathlib.Path) -> dict[str, tuple[list, list]]:
    """Merges the class folders of all parts, or of the source itself.

    Returns:
      class -> (images as (name '<class>/<file>', path), names of other files).

    Raises:
      UserError: no class folders, or a class has two images of one name.
    """
    found: dict[str, tuple[list, list]] = {}
    for part in [inner(source / name) for name in _parts(source)] or [source]:
        for name, (images, others) in class_images(part, folders_in(part)).items():
            pairs, rest = found.setdefault(name, ([], []))
            pairs += images
            rest += others
    if not found:
        raise UserError(f"mini_imagenet: no class folders in {source}. {LAYOUT}")
    for name, (images, _) in found.items():
        _check_unique(name, images)
        images.sort()
    return found


def read_tables(tables: list[pathlib.Path], images: pathlib.Path) -> dict[str, tuple[list, list]]:
    """Reads csv files with a header row 'filename,label'.

    Args:
      tables: the csv files.
      images: the folder with the images of all of them.

    Returns:
      As `read_folders`.

    Raises:
      UserError: missing images, or rows of another form.
    """
    found = collections.defaultdict(lambda: ([], []))
    missing = []
    for table in tables:
        with io.StringIO(read_text(table), newline="") as file, _explained(table):
            rows = csv.DictReader(file, strict=True)
            if not {"filename", "label"} <= set(rows.fieldnames or ()):
                raise UserError(
                    f"{table}: expected the columns filename,label, found {rows.fieldnames}"
                )
            for row in rows:
                name, label = (printable(row[column] or "") for column in ("filename", "label"))
                if not name or not label:
                    raise UserError(f"{table}, line {rows.line_num}: no filename or no label")
                path = images / name
                if not path.is_file():
                    missing.append(name)
                found[label][0].append((f"{label}/{name}", path))
    if missing:
        raise UserError(
            f"mini_imagenet: {len(missing)} images of {', '.join(t.name for t in tables)} are "
            f"missing from {images}: {', '.join(missing[:5])}. {LAYOUT}"
        )
    for name, (pairs, _) in found.items():
        _check_unique(name, pairs)
        pairs.sort()
    return dict(found)


def read_titles(path: pathlib.Path) -> dict[str, str]:
    """Reads 'wnid names' rows; returns wnid -> first name, made unique. {} without the file."""
    if not path.is_file():
        return {}
    rows = [line.split(maxsplit=1) for line in read_text(path).splitlines() if line.strip()]
    firsts = {row[0]: row[1].split(",")[0].strip() for row in rows if len(row) == 2}
    shared = collections.Counter(firsts.values())
    return {
        wnid: f"{first} ({wnid})" if shared[first] > 1 else first for wnid, first in firsts.items()
    }


def _parts(source: pathlib.Path) -> list[str]:
    """The folders of a source that hold class folders of its parts."""
    names = (name for name in folders_in(source) if _is_part(name))
    return [name for name in names if folders_in(inner(source / name))]


def _unused(source: pathlib.Path) -> tuple[tuple[str, ...], list[str]]:
    """Notes on the folders beside the parts, and the images in no class folder."""
    parts, loose = _parts(source), loose_images(source)
    for part in parts:
        loose += loose_images(inner(source / part), f"{part}/")
    others = [name for name in folders_in(source) if name not in parts] if parts else []
    unused = unused_folders(source, others)
    return ((f"mini_imagenet: left out: {unused}",) if unused else ()), loose


def _is_part(name: str) -> bool:
    part = part_of(name)
    return part is not None and not part.rest


@contextlib.contextmanager
def _explained(table: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise UserError(
            f"{table} is not a csv file as expected ({error}): look for a quote that isn't closed"
        ) from error


def _check_unique(class_name: str, images: list) -> None:
    counts = collections.Counter(name for name, _ in images)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise UserError(
            f"mini_imagenet: class {class_name} has {len(twice)} images twice, in two parts: "
            f"{', '.join(sorted(twice)[:3])}; keep one of each"
        )
