"""Time and memory of the tool in a process of its own, as its users run it."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple


class Usage(NamedTuple):
    """What a command used.

    Attributes:
      status: exit status, negative where a signal ended it.
      seconds: from start to end, with starting Python and compiling.
      peak_bytes: most memory that was resident. Linux counts the peak of the process that started
        it too, which therefore should not have held much.
    """

    status: int
    seconds: float
    peak_bytes: int


def command(*arguments: os.PathLike | str) -> list[str]:
    """The command `raeg` with the Python that runs this."""
    return [sys.executable, "-m", "raeg_jax", *map(str, arguments)]


def run(arguments: Sequence[str]) -> Usage:
    """Runs a command to its end; what it prints is shown."""
    started = time.perf_counter()
    process = subprocess.Popen(arguments)
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    return Usage(process.returncode, time.perf_counter() - started, usage.ru_maxrss * unit)
