"""One process at a time prepares a data set."""

import contextlib
import pathlib

try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind; there nothing is locked.
    fcntl = None


@contextlib.contextmanager
def locked(path: pathlib.Path):
    """Holds an exclusive lock on a file while the block runs.

    The operating system lets go of it when the process ends, however it ends.

    Args:
      path: of the lock file; made if missing, and left there.
    """
    with path.open("a") as file:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
