"""What is told on standard output."""

import os
import sys

from raeg_jax.files import printable
from raeg_jax.tool.run import FAILED, StoppedError


def tell(line: str) -> None:
    """Prints a line, which is written when this returns.

    Raises:
      BrokenPipeError: nobody reads it any more.
      StoppedError: it can't be written.
    """
    try:
        print(printable(line), flush=True)
    except OSError as error:
        # Python would write it again at its end, and tell the error in its way.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise StoppedError(
            f"error: standard output can't be written ({error.strerror or error}): let it go "
            "elsewhere",
            FAILED,
        ) from error
