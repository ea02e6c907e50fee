"""Files that are whole at any time, and files of others, looked at before they are read."""

import contextlib
import errno
import json
import os
import pathlib
import re
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from raeg_jax.errors import UserError

# More than any image that Pillow opens takes without compression at 8 bits a sample.
MOST_BYTES = 2**30
_HEAD_BYTES = 32
_URL = re.compile("[A-Za-z][A-Za-z0-9+.-]*://")
# Control characters, what else ends a line, and bytes that are not UTF-8, which Python keeps as
# lone surrogates.
_UNPRINTABLE = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")
# Errors of the operating system that end a run, and what a sentence about the folder says of them.
FULL = (errno.ENOSPC, errno.EDQUOT)
_RESUMES = "can't be used ({}): %s; then the same command resumes"
_EXPLANATIONS = {
    **dict.fromkeys((*FULL, errno.EFBIG), _RESUMES % "make room there"),
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
    """Opens a regular file for reading; a pipe, a device or a socket is never waited for.

    Raises:
      RefusedFileError: "is not a file".
      OSError: it can't be opened; a folder raises IsADirectoryError.
    """
    # Opening alone does something to some devices, so the status is asked for before and after.
    if not stat.S_ISDIR(mode := os.stat(path).st_mode):
        _check_regular(mode)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(path, "rb", opener=_open_at_once))
        _check_regular(os.fstat(file.fileno()).st_mode)
        stack.pop_all()
    return file


def read_file(
    path: os.PathLike | str,
    look: Callable[[bytes], None] = lambda head: None,
) -> bytes:
    """Reads a regular file whose first bytes and size are looked at before the rest is read.

    Args:
      path: of the file.
      look: is called with the first 32 bytes (fewer where there are fewer, none of an empty file)
        and raises what is to be raised for a file of another kind.

    Returns:
      its content.

    Raises:
      RefusedFileError: "is not a file", or it has more than `MOST_BYTES`.
      OSError: as for `open_file`, or reading failed.
    """
    with open_file(path) as file:
        size = look_at(file, look)
        file.seek(0)
        return file.read(size)


def look_at(file: BinaryIO, look: Callable[[bytes], None]) -> int:
    """Looks at the first bytes and the size of an open file; returns the size.

    Args:
      file: as of `open_file`.
      look: as for `read_file`.

    Raises:
      RefusedFileError: it has more than `MOST_BYTES`.
      OSError: reading failed.
    """
    look(file.read(_HEAD_BYTES))
    size = os.fstat(file.fileno()).st_size
    if size > MOST_BYTES:
        raise RefusedFileError(f"has {size:,} bytes, more than the {MOST_BYTES:,} that are read")
    return size


def check_local(path: str) -> None:
    """Refuses URLs such as `gs://bucket/photos`, of which a folder `gs:` would be made.

    Raises:
      UserError: the path is a URL.
    """
    if _URL.match(path):
        raise UserError(
            f"{path} is a URL, and only files and folders of this machine are read and written: "
            "copy it here or mount it, and name the folder"
        )


def printable(text: str) -> str:
    r"""Returns the name of a file, or a text with names in it, in one line that shows anywhere.

    A newline becomes '\n', a byte that is not UTF-8 '\udcXX', and so on; all else stays as it is.
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


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


def _check_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise RefusedFileError("is not a file")


def _open_at_once(path: str, how: int) -> int:
    # Without the flag, which Windows lacks, opening a pipe waits for somebody who writes.
    return os.open(path, how | getattr(os, "O_NONBLOCK", 0))


@contextlib.contextmanager
def explaining(folder: pathlib.Path) -> Iterator[None]:
    """Explains what ends a run in a folder that is full, can't be written, or holds odd things.

    Args:
      folder: that the block writes to.

    Raises:
      UserError: the block ended so; whatever else it raises passes.
    """
    try:
        yield
    except Exception as error:
        if (sentence := _explanation(error, folder)) is None:
            raise
        raise UserError(sentence) from error


def _explanation(error: BaseException | None, folder: pathlib.Path) -> str | None:
    """One sentence; None where neither the error nor what it came of is of this kind."""
    while error is not None and not isinstance(error, UserError):
        for number, explanation in _EXPLANATIONS.items():
            reason = os.strerror(number)
            # TensorStore and others have errors of their own, which quote the system's.
            if getattr(error, "errno", None) == number or reason in str(error):
                where = pathlib.Path(getattr(error, "filename", None) or folder)
                if number == errno.ENOTDIR:  # the file is one of the folders above
                    where = next((path for path in (where, *where.parents) if path.exists()), where)
                return f"{where} {explanation.format(reason)}"
        error = error.__cause__ or error.__context__
    return None


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """The content of a JSON file; JSON knows no NaN and no infinity, and neither do results."""
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def check_room(folder: os.PathLike | str) -> None:
    """Writes a MiB into a folder and removes it, so that hours of work don't end in an error.

    Raises:
      OSError: the folder can't be written, or is full.
    """
    temporary = _beside(pathlib.Path(folder) / "room")
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


def cache_folder(chosen: str = "") -> pathlib.Path:
    """The folder of what can be made again: `chosen`, else $RAEG_DATA, else ~/.cache/raeg_jax.

    Raises:
      UserError: as `user_path`.
    """
    return user_path(chosen or os.environ.get("RAEG_DATA") or "~/.cache/raeg_jax").absolute()


def write_whole(path: os.PathLike | str, content: bytes) -> None:
    """Writes a file that has its whole content from the moment it appears under its name.

    Args:
      path: replaced where it exists; its folder must exist.
      content: of the file.

    Raises:
      OSError: it can't be written; what was there before is left as it was.
    """
    with whole_file(path) as file:
        file.write(content)


@contextlib.contextmanager
def whole_file(path: os.PathLike | str) -> Iterator[BinaryIO]:
    """Opens a file for writing that appears under its name when the block ends without an error.

    Until then the content is in a temporary file of the same folder, so a name never points to
    half a file, whatever kills the process, and two processes may write the same file.

    Args:
      path: replaced where it exists; its folder must exist.

    Raises:
      OSError: as for `write_whole`.
    """
    path = pathlib.Path(path)
    temporary = _beside(path)
    try:
        # Opened plainly, unlike files of `tempfile`, whose mode shuts out all other users.
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename = str(path)
        raise


def write_new(path: os.PathLike | str, content: bytes, mode: int = 0o666) -> None:
    """Writes a file as `write_whole` does, but never replaces one.

    Args:
      path: must not exist; its folder must.
      content: of the file.
      mode: its permissions, less the umask.

    Raises:
      FileExistsError: something has that name, perhaps since a moment ago.
      OSError: it can't be written.
    """
    path = pathlib.Path(path)
    temporary = _beside(path)
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        move_new(temporary, path, mode)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _beside(path: pathlib.Path) -> pathlib.Path:
    """A name for a file while it is written: short, as its own may be as long as names may be."""
    return path.with_name(f".raeg-{uuid.uuid4().hex}.tmp")


def move_new(finished: pathlib.Path, path: pathlib.Path, mode: int = 0o666) -> None:
    """Gives a finished file its name unless something has that name.

    Args:
      finished: on the same file system; gone afterwards.
      path: must not exist; its folder must.
      mode: the file's permissions, for the moment in which an empty one may be there.

    Raises:
      FileExistsError: something has that name, perhaps since a moment ago.
      OSError: it can't be written.
    """
    try:
        os.link(finished, path)
    except FileExistsError:
        raise
    except OSError:
        # No hard links, as on a USB stick: others may see an empty file for a moment.
        path.touch(mode, exist_ok=False)
        try:
            os.replace(finished, path)
        except OSError:
            path.unlink()
            raise
    else:
        finished.unlink()
