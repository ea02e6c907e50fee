"""Files that appear whole or not at all, and checks of other people's files before reading."""

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import re
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from raeg_jax.errors import UserError
from raeg_jax.remote import URL, RemotePath

# More than any image that Pillow opens takes without compression at 8 bits a sample.
MAX_BYTES = 2**30
_HEAD_BYTES = 32
# Control characters, what else ends a line, and bytes that are not UTF-8, which Python represents
# as lone surrogates.
_UNPRINTABLE = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")
# Errors of the operating system that end a run, and what to do about the folder.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_RESUMES = "can't be used ({}): %s; then the same command resumes"
_REMEDIES = {
    **dict.fromkeys((*DISK_FULL, errno.EFBIG), _RESUMES % "make room there"),
    **dict.fromkeys(
        (errno.EROFS, errno.EACCES, errno.EPERM), _RESUMES % "give this user access to it"
    ),
    **dict.fromkeys(
        (errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
        "is in the way ({}): remove it, or use another folder",
    ),
}


class RefusedFileError(OSError):
    """A file that is not read; the message ends a sentence that begins with the file's name."""


def open_file(path: os.PathLike | str) -> BinaryIO:
    """Opens a regular file for reading; never waits for a pipe, a device or a socket.

    Of a `RemotePath` it opens a copy.

    Raises:
      RefusedFileError: "is not a file".
      OSError: it can't be opened; a folder raises IsADirectoryError.
    """
    if isinstance(path, RemotePath):
        return path.open_copy()
    # Opening some devices has effects, so the kind is checked before, and again on what was opened.
    if not stat.S_ISDIR(mode := os.stat(path).st_mode):
        _check_regular(mode)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(path, "rb", opener=_open_without_waiting))
        _check_regular(os.fstat(file.fileno()).st_mode)
        stack.pop_all()
    return file


def _check_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise RefusedFileError("is not a file")


def _open_without_waiting(path: str, flags: int) -> int:
    # Without O_NONBLOCK, which Windows lacks, opening a pipe waits for a writer.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_file(path: os.PathLike | str, check: Callable[[bytes], object] | None = None) -> bytes:
    """Reads a regular file after a check of its first bytes and of its size.

    Args:
      path: of the file.
      check: is called with the first 32 bytes (fewer where the file is shorter) and raises an
        error of its own for a file of another kind.

    Raises:
      RefusedFileError: "is not a file", or it has more than `MAX_BYTES`.
      OSError: as for `open_file`, or reading failed.
    """
    with open_file(path) as file:
        size = check_head(file, check)
        file.seek(0)
        return file.read(size)


def sha256(path: os.PathLike | str) -> str:
    """Returns the SHA-256 of a file, in hexadecimal; raises as `open_file`."""
    with open_file(path) as file:
        # The files of `open` have `readinto`, which typing's BinaryIO lacks.
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def check_head(file: BinaryIO, check: Callable[[bytes], object] | None = None) -> int:
    """Checks the first bytes and the size of an open file; returns the size.

    Args:
      file: as `open_file` returns it.
      check: as for `read_file`.

    Raises:
      RefusedFileError: it has more than `MAX_BYTES`.
      OSError: reading failed.
    """
    if check:
        check(file.read(_HEAD_BYTES))
    size = os.fstat(file.fileno()).st_size
    if size > MAX_BYTES:
        raise RefusedFileError(f"has {size:,} bytes, more than the {MAX_BYTES:,} that are read")
    return size


@contextlib.contextmanager
def whole_file(
    path: os.PathLike | str, mode: int = 0o666, replace: bool = True
) -> Iterator[BinaryIO]:
    """Opens a file for writing that appears under its name when the block ends without an error.

    Until then the content is in a temporary file of the same folder, so a name never points to
    half a file, whatever kills the process, and two processes may write the same file.

    Args:
      path: of the file; its folder must exist.
      mode: permissions of the file, less the umask.
      replace: a file that has the name.

    Raises:
      FileExistsError: something has the name, and `replace` is false.
      OSError: it can't be written; what had the name before is unchanged.
    """
    path = pathlib.Path(path)
    temporary = _temporary_beside(path)
    try:
        # Not by `tempfile`, whose files no other user may read.
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        else:
            move_new(temporary, path, mode)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename = str(path)
        raise


def write_whole(path: os.PathLike | str, content: bytes) -> None:
    """Writes a file as `whole_file` does, replacing one that has its name."""
    with whole_file(path) as file:
        file.write(content)


def write_new(path: os.PathLike | str, content: bytes, mode: int = 0o666) -> None:
    """Writes a file as `whole_file` does, but never replaces one.

    Raises:
      FileExistsError: something has that name, perhaps since a moment ago.
      OSError: it can't be written.
    """
    with whole_file(path, mode, replace=False) as file:
        file.write(content)


def move_new(source: pathlib.Path, path: pathlib.Path, mode: int = 0o666) -> None:
    """Renames a file unless something has the new name.

    Args:
      source: a finished file on the same file system.
      path: must not exist; its folder must.
      mode: permissions of the empty file that may stand there for a moment.

    Raises:
      FileExistsError: something has that name, perhaps since a moment ago.
      OSError: it can't be written.
    """
    try:
        os.link(source, path)
    except FileExistsError:
        raise
    except OSError:
        # No hard links, as on a USB stick: others may see an empty file for a moment.
        path.touch(mode, exist_ok=False)
        try:
            os.replace(source, path)
        except OSError:
            path.unlink()
            raise
    else:
        source.unlink()


def _temporary_beside(path: pathlib.Path) -> pathlib.Path:
    """A name for a file while it is written: short, as the final one may have maximal length."""
    return path.with_name(f".raeg-{uuid.uuid4().hex}.tmp")


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """The content of a JSON file, which can hold neither NaN nor infinity."""
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def check_free_space(folder: os.PathLike | str) -> None:
    """Writes a MiB into a folder and removes it, so that hours of work don't end in an error.

    Raises:
      OSError: the folder can't be written, or is full.
    """
    temporary = _temporary_beside(pathlib.Path(folder) / "test")
    try:
        with temporary.open("xb") as file:
            file.write(bytes(1 << 20))
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = str(folder)
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def translate_write_errors(folder: pathlib.Path) -> Iterator[None]:
    """Turns errors of a block that writes to a folder into a sentence with the way out.

    Args:
      folder: that the block writes to.

    Raises:
      UserError: the folder is full, can't be written, or holds something else than it should;
        other errors pass.
    """
    try:
        yield
    except Exception as error:
        if (sentence := _remedy(error, folder)) is None:
            raise
        raise UserError(sentence) from error


def _remedy(error: BaseException | None, folder: pathlib.Path) -> str | None:
    """One sentence; None if neither the error nor its causes are about the folder."""
    while error is not None and not isinstance(error, UserError):
        for number, remedy in _REMEDIES.items():
            reason = os.strerror(number)
            # TensorStore and others have errors of their own, which quote the system's.
            if getattr(error, "errno", None) == number or reason in str(error):
                path = pathlib.Path(getattr(error, "filename", None) or folder)
                if number == errno.ENOTDIR:  # the file is one of the folders above
                    path = next((place for place in (path, *path.parents) if place.exists()), path)
                return f"{path} {remedy.format(reason)}"
        error = error.__cause__ or error.__context__
    return None


def printable(text: str) -> str:
    r"""Returns the name of a file, or a text with names in it, in one line that shows anywhere.

    A newline becomes '\n', a byte that is not UTF-8 '\udcXX', and so on; all else is unchanged.
    """
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def check_local(path: str) -> None:
    """Refuses URLs such as `gs://bucket/photos`, which would become a folder `gs:`.

    Raises:
      UserError: the path is a URL.
    """
    if URL.match(path):
        raise UserError(
            f"{path} is a URL, and only files and folders of this machine are read and written: "
            "copy it here or mount it, and name the folder"
        )


def user_path(path: str) -> pathlib.Path:
    """Returns a path that a user gave, in which ~ stands for a home folder.

    Raises:
      UserError: there is no such home folder, or it is a URL.
    """
    check_local(path)
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{path}: that home folder is unknown: set HOME, or give a path without ~ (of prepared "
            "data: --config.data.cache_dir=FOLDER)"
        ) from None


def cache_folder(choice: str = "") -> pathlib.Path:
    """The folder of what can be made again: `choice`, else $RAEG_DATA, else ~/.cache/raeg_jax.

    Raises:
      UserError: as `user_path`.
    """
    return user_path(choice or os.environ.get("RAEG_DATA") or "~/.cache/raeg_jax").absolute()
