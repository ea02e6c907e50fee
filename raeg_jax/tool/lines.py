"""What is told on standard output."""

import os
import sys

from raeg_jax.tool.run import FAILED, StoppedError

# A name may hold line feeds, or what moves the cursor of a terminal.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


def one_line(text: str) -> str:
    """Returns what shows text, with names of files in it, in one line."""
    return text.translate(_CONTROLS)


def tell(line: str) -> None:
    """Prints a line, which is written when this returns.

    Raises:
      BrokenPipeError: nobody reads it any more.
      StoppedError: it can't be written.
    """
    try:
        print(one_line(line), flush=True)
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
