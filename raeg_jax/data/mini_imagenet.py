"""Mini-ImageNet: 100 classes of 600 images, split within classes."""

import collections
import contextlib
import csv
import io
import pathlib
from collections.abc import Iterator

from raeg_jax.data.builder import ListingBuilder
from raeg_jax.data.listing import Listing, draw_splits, make_listing
from raeg_jax.data.parts import TRAIN, inner, part_of
from raeg_jax.data.source import (
    ClassFiles,
    class_images,
    folders_in,
    loose_images,
    read_text,
    source_folder,
    unused_folders,
)
from raeg_jax.errors import UserError
from raeg_jax.files import printable

NAMES_FILE = "class_names.txt"
LAYOUT = (
    "Expected: class folders FOLDER/<wnid>/*.jpg, or FOLDER/{train,val,test}/<wnid>/*.jpg, or "
    "FOLDER/images/*.jpg with FOLDER/{train,val,test}.csv (rows 'filename,label'). Make it from "
    "ImageNet (https://image-net.org) with the csv files of "
    "https://github.com/twitter-research/meta-learning-lstm/tree/master/data/miniImagenet."
)


class MiniImagenet(ListingBuilder):
    """Mini-ImageNet (Vinyals et al., 2016; classes of Ravi and Larochelle, 2017).

    Its published parts hold different classes, for few-shot learning. RAEG classifies, so the
    classes of all parts are merged and a share `test_fraction` of each class's images is drawn for
    testing, by file name. `class_names.txt` (rows 'wnid<tab>names'), where present, names the
    classes.
    """

    @classmethod
    def list_source(cls, settings, cache_dir) -> Listing:
        """Lists class folders, or `images/` by the csv files."""
        del cache_dir
        source = source_folder("mini_imagenet", settings.source, LAYOUT)
        parts = [(path, _part(path.stem)) for path in source.glob("*.csv")]
        tables = [(part != TRAIN, path.name, path) for path, part in parts if part]
        notes: tuple[str, ...] = ()
        loose: list[str] = []
        if tables:
            classes = read_tables([path for *_, path in sorted(tables)], source / "images")
        else:
            classes = read_folders(source)
            notes, loose = _unused(source)
        classes = dict(sorted(classes.items()))
        testing = draw_splits(classes, settings.test_fraction)
        titles = read_titles(source / NAMES_FILE)
        return make_listing("mini_imagenet", classes, testing, titles, notes, loose=loose)


def read_folders(source: pathlib.Path) -> ClassFiles:
    """Merges the class folders of all parts, or of the source itself.

    Returns:
      class -> its files, with names '<class>/<file>'.

    Raises:
      UserError: no class folders, or a class has two images of one name.
    """
    classes: ClassFiles = {}
    for part in [inner(source / name) for name in _parts(source)] or [source]:
        for name, (images, others) in class_images(part, folders_in(part)).items():
            pairs, rest = classes.setdefault(name, ([], []))
            pairs += images
            rest += others
    if not classes:
        raise UserError(f"mini_imagenet: no class folders in {source}. {LAYOUT}")
    return _unique(classes)


def read_tables(tables: list[pathlib.Path], images: pathlib.Path) -> ClassFiles:
    """Reads csv files with a header row 'filename,label'.

    Args:
      tables: the csv files.
      images: the folder with the images of all of them.

    Returns:
      As `read_folders`.

    Raises:
      UserError: missing images, or rows of another form.
    """
    classes: ClassFiles = {}
    missing = []
    for table in tables:
        with io.StringIO(read_text(table), newline="") as file, _explain_csv_errors(table):
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
                classes.setdefault(label, ([], []))[0].append((f"{label}/{name}", path))
    if missing:
        raise UserError(
            f"mini_imagenet: {len(missing)} images of {', '.join(t.name for t in tables)} are "
            f"missing from {images}: {', '.join(missing[:5])}. {LAYOUT}"
        )
    return _unique(classes)


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
    names = (name for name in folders_in(source) if _part(name))
    return [name for name in names if folders_in(inner(source / name))]


def _unused(source: pathlib.Path) -> tuple[tuple[str, ...], list[str]]:
    """Notes on the folders beside the parts, and the images in no class folder."""
    parts, loose = _parts(source), loose_images(source)
    for part in parts:
        loose += loose_images(inner(source / part), f"{part}/")
    others = [name for name in folders_in(source) if name not in parts] if parts else []
    unused = unused_folders(source, others)
    return ((f"mini_imagenet: left out: {unused}",) if unused else ()), loose


def _part(name: str) -> str | None:
    """The part that a folder or table holds, such as 'train'; None if its name says more."""
    part = part_of(name)
    return part.part if part and not part.rest else None


@contextlib.contextmanager
def _explain_csv_errors(table: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise UserError(
            f"{table} is not a csv file as expected ({error}): look for a quote that isn't closed"
        ) from error


def _unique(classes: ClassFiles) -> ClassFiles:
    """Sorts the images of each class; stops if a class has two of one name."""
    for class_name, (images, _) in classes.items():
        counts = collections.Counter(name for name, _ in images)
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise UserError(
                f"mini_imagenet: class {class_name} has {len(twice)} images twice, in two parts: "
                f"{', '.join(sorted(twice)[:3])}; keep one of each"
            )
        images.sort()
    return classes
