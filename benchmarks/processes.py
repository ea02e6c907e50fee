"""Processes below one of this machine: their names and memory, as Linux's /proc has them."""

import contextlib
import os
import pathlib
from typing import NamedTuple


class Process(NamedTuple):
    """A process.

    Attributes:
      command: its command line, or the name that it gave itself.
      resident: bytes of memory.
    """

    command: str
    resident: int


def below(pid: int) -> dict[int, Process]:
    """A process and its descendants, by number."""
    parents: dict[int, int] = {}
    found: dict[int, Process] = {}
    page = os.sysconf("SC_PAGE_SIZE")
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        # It may end at any moment.
        with contextlib.suppress(OSError, IndexError):
            number = int(path.name)
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            parents[number] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            resident = int((path / "statm").read_text().split()[1]) * page
            found[number] = Process(command, resident)
    return {number: process for number, process in found.items() if _is_below(number, pid, parents)}


def _is_below(number: int, pid: int, parents: dict[int, int]) -> bool:
    while number not in (0, pid):
        number = parents.get(number, 0)
    return number == pid


def workers(pid: int) -> dict[int, Process]:
    """The actors of `--engine ray` below a process."""
    return {
        number: process
        for number, process in below(pid).items()
        if process.command.startswith("ray::Worker")
    }
