"""One process at a time: locks on files."""

import contextlib
import errno
import os
import pathlib
import time
import types
from collections.abc import Iterator
from typing import BinaryIO

# Each is in the standard library of some operating systems only.
fcntl: types.ModuleType | None
msvcrt: types.ModuleType | None
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
# Windows forbids to read locked bytes: this one is behind the end of any file, but fits a C long.
_BYTE = 2**31 - 2
_PAUSE_SECONDS = 0.1


@contextlib.contextmanager
def locked(path: pathlib.Path, wait: bool = True, shared: bool = False) -> Iterator[None]:
    """Holds a lock on a file while the block runs.

    The operating system releases it when the process ends, however it ends. On file systems
    without locks nothing is locked.

    Args:
      path: of the lock file; made if missing, and never removed.
      wait: for another process to release the lock.
      shared: with others that share it; else nobody else has it. On Windows, nothing is locked
        where it is shared.

    Raises:
      BlockingIOError: another process holds it, and `wait` is false.
      OSError: the file can't be written.
    """
    # NFS wants a file that is open for reading where the lock is shared, and for writing where not.
    with path.open("a+b") as file, contextlib.ExitStack() as stack:
        if fcntl:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            try:
                fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
        elif msvcrt and not shared:
            _lock_on_windows(msvcrt, file, wait)
            stack.callback(_locking, msvcrt, file, msvcrt.LK_UNLCK)
        yield


def _lock_on_windows(msvcrt: types.ModuleType, file: BinaryIO, wait: bool) -> None:
    while True:
        try:
            return _locking(msvcrt, file, msvcrt.LK_NBLCK)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EDEADLK):
                raise
            if not wait:
                raise BlockingIOError(error.errno, "another process holds the lock") from error
        time.sleep(_PAUSE_SECONDS)


def _locking(msvcrt: types.ModuleType, file: BinaryIO, mode: int) -> None:
    os.lseek(file.fileno(), _BYTE, os.SEEK_SET)
    msvcrt.locking(file.fileno(), mode, 1)
