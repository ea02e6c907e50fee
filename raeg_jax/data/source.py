"""Reading the folder that `config.data.source` names: class folders, image files, text files."""

import os
import pathlib
from collections.abc import Iterable

from raeg_jax.errors import UserError
from raeg_jax.files import printable, read_file, user_path

# Class -> (its images as (name, path), names of its other files with reasons).
ClassFiles = dict[str, tuple[list[tuple[str, pathlib.Path]], list[str]]]

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".gif", ".bmp", ".tif", ".tiff"),
    *(".webp", ".avif", ".ppm", ".pgm", ".tga"),
)


def source_folder(dataset: str, source: str, layout: str) -> pathlib.Path:
    """Returns the folder that the user named.

    Args:
      dataset: its name, for the message.
      source: `config.data.source`.
      layout: says what is expected in that folder and how to get it.

    Raises:
      UserError: no folder named, or it doesn't exist.
    """
    if not source:
        raise UserError(f"{dataset}: set --config.data.source=FOLDER. {layout}")
    folder = user_path(source)
    if not folder.is_dir():
        raise UserError(f"{dataset}: no folder {folder} (config.data.source). {layout}")
    return folder


def images_in(folder: pathlib.Path) -> tuple[list[str], list[str]]:
    """Lists the image files below a folder, in sorted order.

    Args:
      folder: searched recursively, linked folders as well, but each folder once; hidden files and
        folders are ignored.

    Returns:
      Names relative to `folder` ('/' between folders), and those of other files, with reasons.
    """
    images, others, seen = [], [], set()

    def note(error: OSError) -> None:
        name = pathlib.Path(error.filename).relative_to(folder).as_posix()
        others.append(f"{name}/ ({error.strerror})")

    # Links come last, so that a folder that is here too is listed by its own name.
    pending = [folder]
    for start in pending:
        for parent, folders, files in os.walk(start, onerror=note):
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
    """Whether `images_in` finds any; the search ends with the first image."""
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
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if not e.name.startswith(".") and not e.is_dir()]
    loose = sorted(printable(name) for name in names if is_image_name(name))
    return [f"{prefix}{name} (in no class folder)" for name in loose]


def folders_in(folder: pathlib.Path) -> list[str]:
    """Names of the visible folders directly in `folder`, sorted; none if it doesn't exist."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def size_of(path: pathlib.Path) -> int:
    """Size of a file in bytes; 0 where it can't be read (it will be skipped by name)."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def class_images(source: pathlib.Path, names: Iterable[str]) -> ClassFiles:
    """Lists the files of class folders.

    Args:
      source: holds the class folders.
      names: of the class folders.

    Returns:
      class -> its files, with printable names '<class>/...'.

    Raises:
      UserError: two folders have the same printable name.
    """
    classes: ClassFiles = {}
    for folder in names:
        images, others = images_in(source / folder)
        name = printable(folder)
        if name in classes:
            raise UserError(f"{source} has two folders that are written {name}: rename one")
        pairs = [(f"{name}/{printable(image)}", source / folder / image) for image in images]
        classes[name] = (pairs, [f"{name}/{printable(other)}" for other in others])
    return classes


def unused_folders(source: pathlib.Path, names: Iterable[str]) -> str:
    """Names folders that are left out, and the number of images in each."""
    counts = {name: len(images_in(source / name)[0]) for name in names}
    return ", ".join(f"{printable(name)} ({count} images)" for name, count in counts.items())


def read_text(path: pathlib.Path) -> str:
    """Reads a text file in UTF-8, with or without a byte-order mark.

    Raises:
      UserError: it is in another encoding, holds a NUL, or can't be read.
    """
    try:
        content = read_file(path)
        if b"\0" in content:
            line = content.count(b"\n", 0, content.index(b"\0")) + 1
            raise UserError(f"{path}, line {line}: there is a NUL, so it is not a text: check it")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: byte {error.object[error.start]:#04x} is not UTF-8 text; save "
            "the file as UTF-8"
        ) from error
    except OSError as error:
        raise UserError(f"{path} can't be read ({error})") from error
