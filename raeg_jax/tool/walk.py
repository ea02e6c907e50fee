"""Which files of a source are images, and what their outputs are called."""

import collections
import dataclasses
import functools
import itertools
import os
import pathlib
import unicodedata
from collections.abc import Iterator, Mapping

from raeg_jax.image_file.read import ImageFile, read_image_file
from raeg_jax.tool.room import room_of

# By these suffixes a file counts as an image. What `read_picture` doesn't read is there too: the
# owner is to be told that such an image was not protected.
_READ = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff"),
    *(".bmp", ".dib", ".gif", ".ppm", ".pgm", ".pbm", ".pnm"),
)
_NOT_READ = (
    *(".avif", ".heic", ".heif", ".j2k", ".jp2", ".jxl", ".psd", ".tga", ".exr", ".hdr"),
    *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"),
)
SUFFIXES = frozenset(_READ + _NOT_READ)
_EXAMPLES = 3


@dataclasses.dataclass(frozen=True)
class Job:
    """One image of a source.

    Attributes:
      source: the file.
      name: relative to the source folder, '/' between folders; of a single file its name.
      output: name of the output relative to the output folder, '/' between folders.
      is_image: whether the source is the file of an image, not one of a data set's files.
    """

    source: pathlib.Path
    name: str
    output: str
    is_image: bool = True

    def room(self) -> int:
        """How much of it reading takes, see `room.room_of`."""
        return room_of(self.source)

    def read(self) -> ImageFile:
        """Reads the file, see `picture.read_picture`."""
        return read_image_file(self.source)


@dataclasses.dataclass
class Survey:
    """What a source holds.

    Attributes:
      images: number of image files.
      folders: first folders of the images' names; '' for those that lie in none.
      others: number of files that aren't images by their names, and of linked folders.
      examples: a few of the others' names.
      unreadable: (folder, reason) of folders that can't be listed.
    """

    images: int = 0
    folders: set[str] = dataclasses.field(default_factory=set)
    others: int = 0
    examples: list[str] = dataclasses.field(default_factory=list)
    unreadable: list[tuple[str, str]] = dataclasses.field(default_factory=list)


def survey(source: pathlib.Path) -> Survey:
    """Counts a folder's images, and looks at what else is there."""
    found = Survey()

    def unreadable(error: OSError) -> None:
        found.unreadable.append((str(error.filename), error.strerror or str(error)))

    for folder, images, others in _walk(source, unreadable):
        found.images += len(images)
        if images:
            found.folders.add(folder.split("/")[0])
        found.others += len(others)
        room = _EXAMPLES - len(found.examples)
        found.examples += [_join(folder, name) for name in others[:room]]
    return found


def jobs(
    source: pathlib.Path,
    suffix: str,
    origins: Mapping[str, str] | None = None,
    ignores_case: bool = False,
) -> Iterator[Job]:
    """Walks over a folder's images in the order of their names, a folder's own files first.

    Only the names of one folder are in memory at a time. Hidden files and folders are left out,
    and links to folders aren't followed.

    Args:
      source: the folder.
      suffix: of the outputs, such as '.png'.
      origins: of which images these were made, by name, where that is known: outputs are named
        after them.
      ignores_case: the outputs' file system takes `A.png` and `a.png` for one name.
    """
    origins = origins or {}
    for folder, images, _ in _walk(source, lambda error: None):
        called = {
            name: os.path.basename(origins.get(_join(folder, name), "")) or name for name in images
        }
        outputs = output_names(called, suffix, ignores_case)
        for image in images:
            yield Job(source / folder / image, _join(folder, image), _join(folder, outputs[image]))


def output_names(
    called: Mapping[str, str], suffix: str, ignores_case: bool = False
) -> dict[str, str]:
    """Names the outputs of files that lie in one folder.

    A name that has the suffix stays. Others get it in place of theirs; where two would be equal,
    they keep theirs and get it added: `a.jpg` and `a.bmp` become `a.jpg.png` and `a.bmp.png`, and
    so does `a.jpg` beside `a.png`. What still is equal gets it once more.

    Args:
      called: by the name of each file, the name from which that of its output is made.
      suffix: of the outputs, such as '.png'.
      ignores_case: names that differ in case, or in how accents are coded, count as equal.

    Returns:
      By the name of each file that of its output: all are different.
    """
    same = functools.partial(comparable, ignores_case=ignores_case)
    short = {name: os.path.splitext(called[name])[0] + suffix for name in called}
    wanted = collections.Counter(map(same, short.values()))
    outputs, taken = {}, set()
    # Those that have the suffix come first; the order in which files are given doesn't count.
    for name in sorted(called, key=lambda name: (short[name] != called[name], called[name], name)):
        longer = (called[name] + number * suffix for number in itertools.count(1))
        keeps = wanted[same(short[name])] == 1 or short[name] == called[name]
        candidates = itertools.chain([short[name]] if keeps else [], longer)
        outputs[name] = next(output for output in candidates if same(output) not in taken)
        taken.add(same(outputs[name]))
    return {name: outputs[name] for name in called}


def comparable(name: str, ignores_case: bool) -> str:
    """What is equal for names that a file system takes for one."""
    return unicodedata.normalize("NFC", name).casefold() if ignores_case else name


def _walk(source, unreadable) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yields (folder relative to the source, names of its images, names of others)."""
    waiting = [os.fspath(source)]
    while waiting:
        # A folder at a time: up to Python 3.11 `os.walk` can't go down a thousand of them.
        listed = next(os.walk(waiting.pop(), onerror=unreadable), None)
        if listed is None:
            continue
        parent, folders, files = listed
        visible = sorted(name for name in folders if not name.startswith("."))
        links = [name for name in visible if os.path.islink(os.path.join(parent, name))]
        inner = [name for name in visible if name not in links]
        waiting += [os.path.join(parent, name) for name in reversed(inner)]
        images, others = [], links
        for name in sorted(files):
            if not name.startswith("."):
                known = os.path.splitext(name)[1].lower() in SUFFIXES
                (images if known else others).append(name)
        folder = pathlib.Path(parent).relative_to(source).as_posix()
        yield "" if folder == "." else folder, images, others


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
