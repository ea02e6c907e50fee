"""One process at a time: locks on files."""

import contextlib
import errno
import pathlib

try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind; there nothing is locked.
    fcntl = None

# File systems without locks, such as Lustre as it is often mounted.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def locked(path: pathlib.Path, wait: bool = True):
    """Holds an exclusive lock on a file while the block runs.

    The operating system lets go of it when the process ends, however it ends.

    Args:
      path: of the lock file; made if missing, and left there.
      wait: for another process to let go of it.

    Raises:
      BlockingIOError: another process holds it, and `wait` is false.
      OSError: the file can't be written.
    """
    with path.open("a") as file:
        if fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
        yield
