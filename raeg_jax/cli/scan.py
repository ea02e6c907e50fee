"""Source and output of a command: which files are images, and what their outputs are called."""

import collections
import dataclasses
import functools
import itertools
import os
import pathlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping

from raeg_jax.errors import UserError
from raeg_jax.image_file.read import ImageFile, pixel_cost, read_image_file
from raeg_jax.image_file.write import SUFFIXES as WRITTEN
from raeg_jax.image_file.write import output_format
from raeg_jax.remote import RemotePath, exists, locate, names_in
from raeg_jax.scale.shard import Shard

# By these suffixes a file counts as an image. What `read_image_file` doesn't read is there too: the
# owner must know that such an image was not protected.
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

# Of files with many images in each: WebDataset's, and those of Hugging Face.
RECORDS = (".tar", ".parquet")
DEFAULT_SUFFIX = ".png"
_FORMAT_SUFFIX = {"PNG": ".png", "WEBP": ".webp", "TIFF": ".tiff"}
# Names of TFDS's files.
_INFO = "dataset_info.json"
_RECORDS = re.compile(r"\.(array_record|tfrecord|riegeli|parquet)-\d+-of-\d+$")


@dataclasses.dataclass(frozen=True)
class SourceImage:
    """One image of a source: a file, or an `Example` of a data set.

    Attributes:
      source: the file, or what stands for it in messages.
      name: for reports and the manifest: the file's name relative to the source folder, '/' between
        folders; of a single file its name.
      output: name of the output relative to the output folder, '/' between folders.
    """

    source: pathlib.Path | str
    name: str
    output: str

    def cost(self) -> int:
        """Returns what reading it takes of the pixel budget, see `read.pixel_cost`."""
        return pixel_cost(self.source)

    def read(self) -> ImageFile:
        """Reads it, see `image_file.read.read_image_file`."""
        return read_image_file(self.source)


@dataclasses.dataclass
class Survey:
    """The content of a source folder.

    Attributes:
      images: number of image files.
      share: number of those in the shard, or of all.
      folders: first folders of the images' names; '' for those that lie in none.
      others: number of files that aren't images by their names, and of linked folders.
      examples: a few of the others' names.
      unreadable: (folder, reason) of folders that can't be listed.
    """

    images: int = 0
    share: int = 0
    folders: set[str] = dataclasses.field(default_factory=set)
    others: int = 0
    examples: list[str] = dataclasses.field(default_factory=list)
    unreadable: list[tuple[str, str]] = dataclasses.field(default_factory=list)


def survey(source: pathlib.Path, shard: Shard | None = None) -> Survey:
    """Counts a folder's images, of these those in the shard, and its other files."""
    content = Survey()

    def note_unreadable(error: OSError) -> None:
        content.unreadable.append((str(error.filename), error.strerror or str(error)))

    for folder, images, others in _walk(source, note_unreadable):
        content.images += len(images)
        content.share += sum(not shard or shard.has(_join(folder, name)) for name in images)
        if images:
            content.folders.add(folder.split("/")[0])
        content.others += len(others)
        wanted = _EXAMPLES - len(content.examples)
        content.examples += [_join(folder, name) for name in others[:wanted]]
    return content


def find_images(
    source: pathlib.Path,
    suffix: str,
    origins: Mapping[str, str] | None = None,
    ignores_case: bool = False,
    shard: Shard | None = None,
) -> Iterator[SourceImage]:
    """Yields a folder's images in the order of their names, a folder's own files first.

    Only the names of one folder are in memory at a time. Hidden files and folders are left out,
    and links to folders aren't followed.

    Args:
      source: the folder.
      suffix: of the outputs, such as '.png'.
      origins: names of the images of which these were made, by name, where that is known: outputs
        are named after them.
      ignores_case: the outputs' file system takes `A.png` and `a.png` for one name.
      shard: whose images to yield; they are named as they are without it.
    """
    origins = origins or {}
    for folder, images, _ in _walk(source, lambda error: None):
        named_after = {
            name: os.path.basename(origins.get(_join(folder, name), "")) or name for name in images
        }
        outputs = output_names(named_after, suffix, ignores_case)
        for image in images:
            name = _join(folder, image)
            if not shard or shard.has(name):
                yield SourceImage(source / folder / image, name, _join(folder, outputs[image]))


def output_names(
    named_after: Mapping[str, str], suffix: str, ignores_case: bool = False
) -> dict[str, str]:
    """Names the outputs of files that lie in one folder.

    A name that has the suffix stays. Others get it in place of theirs; where two would be equal,
    they keep theirs and get it added: `a.jpg` and `a.bmp` become `a.jpg.png` and `a.bmp.png`, and
    so does `a.jpg` beside `a.png`. What still is equal gets it once more.

    Args:
      named_after: by the name of each file, the name from which that of its output is made.
      suffix: of the outputs, such as '.png'.
      ignores_case: names that differ in case, or in how accents are coded, count as equal.

    Returns:
      By the name of each file that of its output: all are different.
    """
    same = functools.partial(comparable, ignores_case=ignores_case)
    short = {name: os.path.splitext(base)[0] + suffix for name, base in named_after.items()}
    wanted = collections.Counter(map(same, short.values()))
    outputs, taken = {}, set()

    def order(name: str) -> tuple[bool, str, str]:
        # Those that have the suffix come first; the order in which files are given doesn't count.
        return short[name] != named_after[name], named_after[name], name

    for name in sorted(named_after, key=order):
        base = named_after[name]
        longer = (base + number * suffix for number in itertools.count(1))
        keeps = wanted[same(short[name])] == 1 or short[name] == base
        candidates = itertools.chain([short[name]] if keeps else [], longer)
        outputs[name] = next(output for output in candidates if same(output) not in taken)
        taken.add(same(outputs[name]))
    return {name: outputs[name] for name in named_after}


def comparable(name: str, ignores_case: bool) -> str:
    """Returns what is equal for names that a file system takes for one."""
    return unicodedata.normalize("NFC", name).casefold() if ignores_case else name


@dataclasses.dataclass(frozen=True)
class Paths:
    """Where images come from and where they go.

    Attributes:
      source: a folder or a file.
      out: the folder of the outputs.
      suffix: of the outputs, such as '.png'.
      single: the only image, where the source is a file.
      overwrite: files of others may be replaced.
      shard: of the source that is worked on; None for all of it.
    """

    source: pathlib.Path
    out: pathlib.Path
    suffix: str = DEFAULT_SUFFIX
    single: SourceImage | None = None
    overwrite: bool = False
    shard: Shard | None = None


def check_paths(
    source: str, out: str, format_name: str | None = None, overwrite: bool = False
) -> Paths:
    """Checks source and output before anything is loaded; makes nothing.

    The output of a file is a file if it has a suffix and no folder has that name; else a folder.

    Args:
      source: an image file, or a folder of them.
      out: a folder, or the name of the output of a single file.
      format_name: of the outputs, such as 'tiff'; None where none was asked for.
      overwrite: files of others may be replaced.

    Raises:
      UserError: there is no such format or source; the output is within the source or the other way
        round, so that originals could be overwritten; or it is a file where a folder must be.
    """
    suffix = None
    if format_name is not None:
        suffix = _FORMAT_SUFFIX[output_format(f"output.{format_name.lower()}")]
    here, there = existing(source), locate(out)
    # Unlike those of `Path`, the questions of `os.path` are answered for impossible names too;
    # whoever makes the output raises the error of such a name.
    if here.is_dir():
        if exists(there) and not there.is_dir():
            raise UserError(f"{out} is a file: name a folder for what is made of the images")
        _check_apart(here, there)
        return Paths(here, there, suffix or DEFAULT_SUFFIX, None, overwrite)
    if here.suffix in RECORDS:
        if there.suffix in RECORDS or (exists(there) and not there.is_dir()):
            raise UserError(f"{out} can't be the output of {source}: name a folder for it")
        if here.parent == there or _same(here.parent, there):
            raise UserError(f"{out} holds {source} itself: name another folder")
        return Paths(here, there, suffix or DEFAULT_SUFFIX, None, overwrite)
    if isinstance(there, RemotePath):
        raise UserError(
            f"{out} is a URL, and {source} a single image: name a folder of images, or a file of "
            "this machine"
        )
    if os.path.isdir(there) or not there.suffix or out.endswith(("/", os.sep)):
        suffix = suffix or DEFAULT_SUFFIX
        folder, output = there, output_names({here.name: here.name}, suffix)[here.name]
    else:
        wanted = output_format(there)
        if suffix and wanted != WRITTEN[suffix]:
            raise UserError(f"{out} would not be the {WRITTEN[suffix]} asked for: leave one out")
        folder, output, suffix = there.parent, there.name, there.suffix
    if _same(here, folder / output):
        raise UserError(f"{folder / output} is the source itself: name another output")
    return Paths(here, folder, suffix, SourceImage(here, here.name, output), overwrite)


def existing(source: str) -> pathlib.Path:
    """Returns the path of a source.

    Raises:
      UserError: there is nothing, or something like a device.
    """
    path = locate(source)
    if not (path.exists() if isinstance(path, RemotePath) else os.path.exists(path)):
        raise UserError(f"{source} doesn't exist: check the name of the source")
    if not path.is_dir() and not path.is_file():
        raise UserError(f"{source} is neither a file nor a folder: name an image or a folder")
    return path


def is_dataset(source: pathlib.Path) -> bool:
    """Whether a source is a prepared TFDS data set, or what is there of one."""
    try:
        return any(name == _INFO or _RECORDS.search(name) for name in names_in(source))
    except OSError:
        # A file, or a folder that can't be listed.
        return False


def find_files(source: pathlib.Path, suffix: str) -> list[str]:
    """Names of a folder's files with a suffix, in the order of `find_images`."""
    return [
        _join(folder, name)
        for folder, _, others in _walk(source, lambda error: None)
        for name in others
        # A link to a folder is among the others.
        if name.endswith(suffix) and not os.path.isdir(source / folder / name)
    ]


def record_suffix(source: pathlib.Path) -> str:
    """Returns the suffix of the record files that a source is or holds, such as '.tar'; or ''.

    A folder in which there is an image is one of images.

    Raises:
      UserError: there are record files of several kinds.
    """
    if not source.is_dir():
        return source.suffix if source.suffix in RECORDS else ""
    found = set()
    for _, images, others in _walk(source, lambda error: None):
        if images:
            return ""
        found |= {suffix for suffix in RECORDS if any(name.endswith(suffix) for name in others)}
    if len(found) > 1:
        kinds = " and ".join(sorted(found))
        raise UserError(f"{source} holds {kinds} files: name a folder of one kind")
    return found.pop() if found else ""


def find_dataset(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns a prepared TFDS data set that lies as TFDS puts them below a folder, if there is one.

    They are in NAME[/CONFIG]/VERSION, on this machine.
    """
    if isinstance(folder, RemotePath):
        return None
    for pattern in ("*", "*/*", "*/*/*"):
        for path in sorted(folder.glob(f"{pattern}/{_INFO}")):
            return path.parent
    return None


def is_within(inner: pathlib.Path, outer: pathlib.Path) -> bool:
    """Whether a path, of something or nothing, leads to a folder or into it, links followed."""
    if isinstance(inner, RemotePath) or isinstance(outer, RemotePath):
        return inner.is_relative_to(outer)
    # Unlike `Path.resolve`, this raises nothing where links go round in circles.
    real = pathlib.Path(os.path.realpath(inner))
    return any(_same(outer, folder) for folder in (real, *real.parents))


def _check_apart(source: pathlib.Path, out: pathlib.Path) -> None:
    if is_within(out, source):
        raise UserError(
            f"{out} is in the source folder {source}, whose images it would mix with its own: "
            "name a folder outside"
        )
    if is_within(source, out):
        raise UserError(
            f"{source} is in the output folder {out}, so originals could be replaced: name another "
            "output folder"
        )


def _same(one: pathlib.Path, other: pathlib.Path) -> bool:
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)


def _walk(
    source: pathlib.Path, on_unreadable: Callable[[OSError], None]
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yields (folder relative to the source, names of its images, names of others)."""
    if isinstance(source, RemotePath):
        yield from _walk_elsewhere(source, on_unreadable)
        return
    waiting = [os.fspath(source)]
    while waiting:
        # A folder at a time: up to Python 3.11 `os.walk` can't go down a thousand of them.
        listed = next(os.walk(waiting.pop(), onerror=on_unreadable), None)
        if listed is None:
            continue
        parent, folders, files = listed
        visible = sorted(name for name in folders if not name.startswith("."))
        links = [name for name in visible if os.path.islink(os.path.join(parent, name))]
        inner = [name for name in visible if name not in links]
        waiting += [os.path.join(parent, name) for name in reversed(inner)]
        images, others = _sort_names(files)
        folder = pathlib.Path(parent).relative_to(source).as_posix()
        yield "" if folder == "." else folder, images, links + others


def _walk_elsewhere(
    source: RemotePath, on_unreadable: Callable[[OSError], None]
) -> Iterator[tuple[str, list[str], list[str]]]:
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            folders, files = (source / folder if folder else source).listed()
        except OSError as error:
            on_unreadable(error)
            continue
        visible = (name for name in folders if not name.startswith("."))
        waiting += reversed([_join(folder, name) for name in visible])
        yield folder, *_sort_names(files)


def _sort_names(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Returns the names of images and of others; hidden ones are left out."""
    images: list[str] = []
    others: list[str] = []
    for name in sorted(names):
        if not name.startswith("."):
            is_image = os.path.splitext(name)[1].lower() in SUFFIXES
            (images if is_image else others).append(name)
    return images, others


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
