"""Files elsewhere, such as in an object store: paths that are URLs, read through fsspec."""

import atexit
import collections
import contextlib
import errno
import functools
import itertools
import os
import pathlib
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from raeg_jax.errors import UserError

URL = re.compile("[A-Za-z][A-Za-z0-9+.-]*://")
_HERE = ("file://", "local://")
# Copies of so many bytes, or a single one, lie on this machine at a time.
_COPIES_BYTES = 2**31
_LOCKS = 64


class RemotePath(pathlib.PurePosixPath):
    """The path of a file or folder elsewhere: `str` gives its URL.

    It has the methods of `pathlib.Path` that sources and outputs need. Each object reads what was
    there when it was opened first.
    """

    def __str__(self) -> str:
        scheme, colon, rest = super().__str__().partition(":/")
        return f"{scheme}://{rest}" if colon else scheme

    def __fspath__(self) -> str:
        return str(self)

    @functools.cached_property
    def system(self) -> Any:
        """The file system of fsspec, whose functions take `str` of a path.

        Raises:
          UserError: there is none for such URLs, or it can't be reached.
        """
        # It takes time to import, and most runs stay on this machine.
        import fsspec

        try:
            # What others write meanwhile counts.
            return fsspec.core.url_to_fs(str(self), use_listings_cache=False)[0]
        except ImportError as error:
            raise UserError(
                f"{self} can't be reached ({error}): install that package; for s3:// it comes with "
                "`pip install raeg-jax[s3]`"
            ) from error
        except ValueError as error:
            raise UserError(f"{self} is a URL of an unknown kind: check its beginning") from error

    def exists(self) -> bool:
        """Whether there is a file or a folder."""
        with reaching(self):
            return bool(self.system.exists(str(self)))

    def is_file(self) -> bool:
        """Whether there is a file."""
        with reaching(self):
            return bool(self.system.isfile(str(self)))

    def is_dir(self) -> bool:
        """Whether there is a folder."""
        with reaching(self):
            return bool(self.system.isdir(str(self)))

    def size(self) -> int | None:
        """Size of the file in bytes; None where there is none."""
        with reaching(self):
            try:
                return int(self.system.size(str(self)))
            except FileNotFoundError:
                return None

    def listed(self) -> tuple[list[str], list[str]]:
        """Returns the names of the folders and of the files in a folder, sorted.

        Raises:
          OSError: it can't be listed.
        """
        with reaching(self):
            try:
                rows = self.system.ls(str(self), detail=True)
            except FileNotFoundError:
                rows = []
        folders, files = set[str](), set[str]()
        own = self.system._strip_protocol(str(self))
        for row in rows:
            # Some stores have an empty object for a folder itself.
            if (path := row["name"].rstrip("/")) != own.rstrip("/"):
                name = path.rpartition("/")[2]
                (folders if row["type"] == "directory" else files).add(name)
        return sorted(folders), sorted(files)

    def open_copy(self) -> BinaryIO:
        """Opens a copy of the file on this machine, made when it is first opened.

        Raises:
          OSError: it can't be read, or there is no room for it.
        """
        return _copies.open(self)

    def open_parts(self) -> BinaryIO:
        """Opens the file itself, of which only what is read is fetched.

        Raises:
          OSError: it can't be read.
        """
        with reaching(self):
            opened: BinaryIO = self.system.open(str(self), "rb")
            return opened


def locate(place: str) -> pathlib.Path:
    """Returns the path of a place on this machine, or the `RemotePath` of a URL, as if it were one.

    Raises:
      UserError: it is a URL of an unknown kind, or one for which a package is missing.
    """
    for scheme in _HERE:
        if place.startswith(scheme):
            return pathlib.Path(place.removeprefix(scheme))
    if not URL.match(place):
        return pathlib.Path(place)
    path = RemotePath(place)
    assert path.system is not None, "it raises an error that names the way out"
    # Whoever gets a path asks it only for what a `RemotePath` has, too.
    return path  # type: ignore[return-value]


def exists(path: os.PathLike) -> bool:
    """Whether anything has a path: a link to nothing, too."""
    return path.exists() if isinstance(path, RemotePath) else os.path.lexists(path)


def names_in(folder: os.PathLike) -> list[str]:
    """Returns the names of what is in a folder.

    Raises:
      OSError: it can't be listed.
    """
    if isinstance(folder, RemotePath):
        return list(itertools.chain(*folder.listed()))
    return os.listdir(folder)


def put(sources: Sequence[os.PathLike], paths: Sequence[RemotePath]) -> None:
    """Writes files of this machine elsewhere, each at once under its name.

    Raises:
      OSError: one can't be written.
    """
    if paths:
        with reaching(paths[0]):
            paths[0].system.put([os.fspath(s) for s in sources], [str(path) for path in paths])


def put_bytes(content: bytes, path: RemotePath) -> None:
    """Writes a file elsewhere; raises as `put`."""
    with reaching(path):
        path.system.pipe_file(str(path), content)


def copy(sources: Sequence[RemotePath], paths: Sequence[RemotePath]) -> None:
    """Copies files within one store; raises as `put`."""
    if paths:
        with reaching(paths[0]):
            paths[0].system.copy([str(source) for source in sources], [str(p) for p in paths])


def remove(paths: Sequence[RemotePath]) -> None:
    """Removes files that are there; raises as `put`."""
    if paths:
        with reaching(paths[0]):
            paths[0].system.rm([str(path) for path in paths])


@contextlib.contextmanager
def reaching(path: RemotePath) -> Iterator[None]:
    """Raises whatever goes wrong elsewhere as an OSError with a number."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
    except PermissionError as error:
        raise PermissionError(errno.EACCES, _reason(error), str(path)) from error
    except Exception as error:
        # Each store has errors of its own.
        number = getattr(error, "errno", None) or errno.EIO
        raise OSError(number, _reason(error), str(path)) from error


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0]


class _Copies:
    """Copies of remote files on this machine, the oldest of which make room for others."""

    def __init__(self) -> None:
        self._folder: str | None = None
        # By copy its size, and the sum.
        self._sizes: collections.OrderedDict[str, int] = collections.OrderedDict()
        self._total = 0
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        # Two threads fetch no file twice.
        self._fetching = [threading.Lock() for _ in range(_LOCKS)]

    def open(self, path: RemotePath) -> BinaryIO:
        with self._fetching[hash(path) % _LOCKS]:
            if copy := path.__dict__.get("_copy", ""):
                # It is gone if it had to make room.
                with contextlib.suppress(FileNotFoundError):
                    return pathlib.Path(copy).open("rb")
            return self._fetch(path)

    def _fetch(self, path: RemotePath) -> BinaryIO:
        copy = self._new_name()
        with reaching(path):
            path.system.get_file(str(path), copy)
        path.__dict__["_copy"] = copy
        try:
            return pathlib.Path(copy).open("rb")
        finally:
            # Others may remove this one, too, once it is open.
            self._make_room(copy)

    def _new_name(self) -> str:
        with self._lock:
            if self._folder is None:
                self._folder = tempfile.mkdtemp(prefix="raeg-")
                atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
            return os.path.join(self._folder, str(next(self._numbers)))

    def _make_room(self, copy: str) -> None:
        with self._lock:
            self._sizes[copy] = os.path.getsize(copy)
            self._total += self._sizes[copy]
            while len(self._sizes) > 1 and self._total > _COPIES_BYTES:
                oldest, size = self._sizes.popitem(last=False)
                self._total -= size
                os.unlink(oldest)


_copies = _Copies()
