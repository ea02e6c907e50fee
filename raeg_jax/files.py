"""Files that are whole at any time: who opens one finds the old content or the new."""

import contextlib
import json
import os
import pathlib
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """The content of a JSON file; JSON knows no NaN and no infinity, and neither do results."""
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


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
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
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
