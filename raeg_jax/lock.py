"""One process at a time: locks on files."""

import contextlib
import errno
import os
import pathlib
import time
from collections.abc import Iterator
from typing import BinaryIO

try:
    import fcntl
except ImportError:
    fcntl = None
try:
    import msvcrt
except ImportError:
    msvcrt = None

# File systems without locks, such as Lustre as it is often mounted.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
# What is locked can't be read on Windows: one byte that no file has, but that a C long can name.
_BYTE = 2**31 - 2
_PAUSE_SECONDS = 0.1


@contextlib.contextmanager
def locked(path: pathlib.Path, wait: bool = True) -> Iterator[None]:
    """Holds an exclusive lock on a file while the block runs.

    The operating system lets go of it when the process ends, however it ends. On file systems
    without locks nothing is locked.

    Args:
      path: of the lock file; made if missing, and left there.
      wait: for another process to let go of it.

    Raises:
      BlockingIOError: another process holds it, and `wait` is false.
      OSError: the file can't be written.
    """
    with path.open("ab") as file, contextlib.ExitStack() as stack:
        if fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
        elif msvcrt:
            _lock_on_windows(file, wait)
            stack.callback(_on_byte, file, msvcrt.LK_UNLCK)
        yield


def _lock_on_windows(file: BinaryIO, wait: bool) -> None:
    while True:
        try:
            _on_byte(file, msvcrt.LK_NBLCK)
            return
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EDEADLK):
                raise
            if not wait:
                raise BlockingIOError(error.errno, "another process holds the lock") from error
        time.sleep(_PAUSE_SECONDS)


def _on_byte(file: BinaryIO, how: int) -> None:
    os.lseek(file.fileno(), _BYTE, os.SEEK_SET)
    msvcrt.locking(file.fileno(), how, 1)
