"""What a data set consists of: its images on disk, their classes and their split."""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable

from raeg_jax.data.digests import digests
from raeg_jax.errors import UserError
from raeg_jax.files import printable, user_path

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".gif", ".bmp", ".tif", ".tiff"),
    *(".webp", ".avif", ".ppm", ".pgm", ".tga"),
)
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
      box: where the image is a crop, its (left, top, right, bottom) in pixels of the file.
      digest: of the file's content; '' where it wasn't read.
    """

    file_name: str
    path: pathlib.Path
    size: int
    label: int
    train: bool
    box: tuple[int, int, int, int] | None = None
    digest: str = ""


@dataclasses.dataclass(frozen=True)
class Listing:
    """All images of a data set as found at the source, before any is read.

    Attributes:
      dataset: the registered name.
      class_names: one a label.
      entries: the images; their order is the order in the prepared data.
      left_out: files that aren't images by their name and the like, each with a reason.
      notes: sentences the user should read once.
      extra_files: name -> text of files written beside the prepared data.
      warnings: sentences on what is probably not as the user means it.
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
        rows = [(e.file_name, e.size, e.label, e.train, e.box, e.digest) for e in self.entries]
        text = json.dumps([FORMAT_VERSION, self.dataset, self.class_names, rows])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def with_contents(self, memory: pathlib.Path) -> "Listing":
        """The same listing with the digest of every file, as `digests` reads or remembers it."""
        read = digests((entry.path for entry in self.entries), memory)
        entries = (dataclasses.replace(entry, digest=read[entry.path]) for entry in self.entries)
        return dataclasses.replace(self, entries=tuple(entries))

    def in_two_classes(self) -> list[tuple[str, str]]:
        """Pairs of names of images that are the same in every byte but have different classes."""
        first: dict[tuple, Entry] = {}
        pairs = []
        for entry in self.entries:
            other = first.setdefault((entry.digest, entry.box), entry)
            if entry.digest and other.label != entry.label:
                pairs.append((other.file_name, entry.file_name))
        return pairs


def images_in(folder: pathlib.Path) -> tuple[list[str], list[str]]:
    """Lists the image files below a folder, in sorted order.

    Args:
      folder: searched recursively, linked folders as well, but each folder once; hidden files and
        folders are ignored.

    Returns:
      Names relative to `folder` ('/' between folders), and what else is there, with reasons.
    """
    images, others, seen = [], [], set()

    def tell(error: OSError) -> None:
        name = pathlib.Path(error.filename).relative_to(folder).as_posix()
        others.append(f"{name}/ ({error.strerror})")

    # Links come last, so that what they lead to keeps its own name if it is here too.
    pending = [folder]
    for start in pending:
        for parent, folders, files in os.walk(start, onerror=tell):
            prefix = pathlib.Path(parent).relative_to(folder)
            status = os.stat(parent)
            if (status.st_dev, status.st_ino) in seen:
                others.append(f"{prefix.as_posix()}/ (a link to a folder that is listed already)")
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            like_images = (prefix / name for name in folders if is_image_name(name))
            others += [f"{path.as_posix()} (is not a file)" for path in like_images]
            paths = (pathlib.Path(parent, name) for name in folders)
            pending += [path for path in paths if path.is_symlink()]
            for name in files:
                if not name.startswith("."):
                    path = (prefix / name).as_posix()
                    if is_image_name(name):
                        images.append(path)
                    else:
                        others.append(f"{path} (not an image)")
    return sorted(images), sorted(others)


def holds_image(folder: pathlib.Path) -> bool:
    """Whether `images_in` finds any; the search ends with the first one."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if any(is_image_name(name) and not name.startswith(".") for name in files):
            return True
        if any(pathlib.Path(parent, name).is_symlink() for name in folders):
            return bool(images_in(folder)[0])
    return False


def is_image_name(name: str) -> bool:
    """Whether a file counts as an image by its extension."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def loose_images(folder: pathlib.Path, prefix: str = "") -> list[str]:
    """Names of the images directly in a folder of class folders, sorted, each with the reason.

    Args:
      folder: that holds the class folders.
      prefix: of the names.
    """
    with os.scandir(folder) as found:
        names = [e.name for e in found if not e.name.startswith(".") and not e.is_dir()]
    loose = sorted(printable(name) for name in names if is_image_name(name))
    return [f"{prefix}{name} (in no class folder)" for name in loose]


def folders_in(folder: pathlib.Path) -> list[str]:
    """Names of the visible folders directly in `folder`, sorted; none if it doesn't exist."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as found:
        return sorted(e.name for e in found if e.is_dir() and not e.name.startswith("."))


def size_of(path: pathlib.Path) -> int:
    """Size of a file in bytes; 0 where it can't be read (it will be skipped by name)."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


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


def check_fraction(fraction: float) -> float:
    """Returns the fraction if it lies strictly between 0 and 1."""
    if not 0 < fraction < 1:
        raise UserError(f"data.test_fraction={fraction} must lie between 0 and 1 (exclusive)")
    return fraction


def source_folder(dataset: str, source: str, layout: str) -> pathlib.Path:
    """Returns the folder the user named.

    Args:
      dataset: its name, for the message.
      source: `config.data.source`.
      layout: what is expected in that folder and how to get it.

    Raises:
      UserError: no folder named, or it doesn't exist.
    """
    if not source:
        raise UserError(f"{dataset}: set --config.data.source=FOLDER. {layout}")
    folder = user_path(source)
    if not folder.is_dir():
        raise UserError(f"{dataset}: no folder {folder} (config.data.source). {layout}")
    return folder
