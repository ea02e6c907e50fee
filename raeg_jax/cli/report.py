"""The result of each image, and what a run prints: its summary, notes and failures."""

import collections
import dataclasses
import enum
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import tqdm

from raeg_jax.errors import UserError
from raeg_jax.files import printable

# Exit status of a run in which images failed, or that could write no more.
FAILED = 1
# Stands for all targets, which read an image by the mean of their probabilities.
TOGETHER = "together"
# So many failures and notes are printed; a manifest has all failures.
_LISTED = 20


class Status(enum.Enum):
    """How work on an image ended."""

    DONE = enum.auto()
    # Finished by an earlier run.
    SKIPPED = enum.auto()
    FAILED = enum.auto()


@dataclasses.dataclass(frozen=True)
class Result:
    """How work on an image ended, and why.

    Attributes:
      name: of the source, as in the manifest.
      status: how it ended.
      reason: why it failed: a sentence that names the file.
      notes: what was left out though all went well, each as the end of a sentence about the file.
      details: for the report and the manifest, such as `psnr`.
    """

    name: str
    status: Status = Status.DONE
    reason: str = ""
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class NoSpaceError(UserError):
    """The disk is full, so every other image would fail as well."""


class StoppedError(Exception):
    """The run ended before all images were done.

    Attributes:
      status: the exit status.
    """

    def __init__(self, message: str, status: int = FAILED):
        super().__init__(message)
        self.status = status


def failure(name: str, error: Exception, names_file: bool = False) -> Result:
    """Returns the result of an image that failed.

    Args:
      name: of the image.
      error: why.
      names_file: the message of a `UserError` has the file's name in it already.
    """
    if isinstance(error, UserError):
        reason = str(error)
    elif isinstance(error, MemoryError):
        reason = "takes more memory than there is: close other programs, or scale the image down"
    else:
        reason = f"unexpectedly failed ({type(error).__name__}: {error}): please report this"
    if not (names_file and isinstance(error, UserError)):
        reason = f"{name}: {reason}"
    return Result(name, Status.FAILED, reason)


class Report:
    """Counts results, also in a progress bar, and remembers the first failures and notes.

    Args:
      total: number of images; None where it isn't known.
      resumes: how the same command resumes a stopped run, such as 'the same command resumes from
        there'; empty where it begins anew.
      bar: counts images.

    Attributes:
      counts: images by status.
      failures: reasons, the first ones.
    """

    def __init__(self, total: int | None, resumes: str, bar: tqdm.tqdm):
        self.counts: collections.Counter[Status] = collections.Counter()
        self.failures: list[str] = []
        # By note, the names of the images that have it: their number, and the first.
        self._notes: dict[str, tuple[int, str]] = {}
        self._total, self._resumes, self._bar = total, resumes, bar
        # When the first result came, before which programs are compiled; and results since.
        self._since: float | None = None
        self._count = 0
        self._payloads: collections.Counter[str] = collections.Counter()
        self._psnr_sum, self._psnr_count = 0.0, 0
        # By target, how many images it still reads as before, of how many.
        self._kept: collections.Counter[str] = collections.Counter()
        self._read = 0

    def add(self, result: Result) -> None:
        """Counts a result."""
        self.counts[result.status] += 1
        if result.status is Status.FAILED and len(self.failures) < _LISTED:
            self.failures.append(result.reason)
        for note in result.notes:
            count, first = self._notes.get(note, (0, result.name))
            self._notes[note] = count + 1, first
        if payload := result.details.get("payload"):
            self._payloads[payload] += 1
        if psnr := result.details.get("psnr"):
            self._psnr_sum, self._psnr_count = self._psnr_sum + psnr, self._psnr_count + 1
        if kept := result.details.get("targets"):
            self._kept.update({name: int(same) for name, same in kept.items()})
            self._read += 1
        self._bar.set_postfix_str(self._rate(result), refresh=False)
        self._bar.update()

    def _rate(self, result: Result) -> str:
        if result.status is Status.SKIPPED:
            return ""
        now = time.monotonic()
        if self._since is None:
            self._since = now
            return ""
        self._count += 1
        return f"{self._count / max(now - self._since, 1e-9):.1f} images/s"

    @property
    def outcome(self) -> dict[str, int]:
        """Numbers of images that are `finished`, by this run or an earlier one, and `failed`."""
        finished = self.counts[Status.DONE] + self.counts[Status.SKIPPED]
        return {"finished": finished, "failed": self.counts[Status.FAILED]}

    @property
    def status(self) -> int:
        """The exit status of a run that reached its end."""
        return FAILED if self.counts[Status.FAILED] else 0

    @property
    def progress(self) -> str:
        """What a run that ended early has done."""
        done = self.outcome["finished"]
        of = f"{done} of " if self._total is not None else ""
        text = f"{of}{counted(done if self._total is None else self._total, 'image')} done"
        return text + (f", and {self._resumes}" if self._resumes else "")

    def stopped(self, error: UserError) -> StoppedError:
        """Returns the error of a run that an error ended."""
        return StoppedError(f"error: {error}; {self.progress}")

    def summary(self, verb: str) -> str:
        """One line for a run that reached its end, such as with `verb` 'protected'."""
        parts = [f"{counted(self.counts[Status.DONE], 'image')} {verb}"]
        if self._payloads:
            pixels, chunk = self._payloads["pixels"], self._payloads["chunk"]
            parts.append(f"payload in the pixels of {pixels}, in a PNG chunk of {chunk}")
        if self._psnr_count:
            parts.append(f"mean PSNR {self._psnr_sum / self._psnr_count:.2f} dB")
        if skipped := self.counts[Status.SKIPPED]:
            parts.append(f"{skipped} were done before")
        if failed := self.counts[Status.FAILED]:
            parts.append(f"{failed} failed")
        return "; ".join(parts)

    def target_lines(self) -> list[str]:
        """A line on what the generator's targets read, where they have read anything."""
        each = [f"{name} {count}" for name, count in self._kept.items() if name != TOGETHER]
        return [
            f"its targets still read {self._kept[TOGETHER]} of {counted(self._read, 'image')} as "
            f"before ({', '.join(each)})"
        ] * bool(self._read)

    def note_lines(self) -> list[str]:
        """One line for each note, with the first image that has it."""
        lines = [
            f"{name}: {note}" + (f" (and {counted(count - 1, 'more image')})" if count > 1 else "")
            for note, (count, name) in list(self._notes.items())[:_LISTED]
        ]
        if more := len(self._notes) - len(lines):
            lines.append(f"{more} more kinds of notes")
        return lines

    def failure_lines(self, all_failures: str) -> list[str]:
        """One line for each failure; `all_failures` is the file that has all, or empty."""
        lines = [f"failed: {reason}" for reason in self.failures]
        if more := self.counts[Status.FAILED] - len(lines):
            lines.append(f"failed: {more} more" + (f", see {all_failures}" if all_failures else ""))
        return lines


def counted(number: int, noun: str) -> str:
    """Returns such as '1 image' or '2 images'."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def echo(line: str) -> None:
    """Prints a line on standard output, which is written when this returns.

    Raises:
      BrokenPipeError: nobody reads it any more.
      StoppedError: it can't be written.
    """
    try:
        print(printable(line), flush=True)
    except OSError as error:
        # Python would write it again at its end, and print a traceback of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise StoppedError(
            f"error: standard output can't be written ({error.strerror or error}): let it go "
            "elsewhere"
        ) from error


def log(line: str) -> None:
    """Prints a line on standard error."""
    print(printable(line), file=sys.stderr)
