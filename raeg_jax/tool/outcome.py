"""What became of an image."""

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

from raeg_jax.errors import UserError


class Status(enum.Enum):
    """How work on an image ended."""

    DONE = enum.auto()
    # By an earlier run.
    SKIPPED = enum.auto()
    FAILED = enum.auto()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of an image.

    Attributes:
      name: of the source, as in the manifest.
      status: how it ended.
      reason: why it failed: a sentence that names the file.
      notes: what was left out though all went well, each as the end of a sentence about the file.
      details: what else is known, such as `psnr`.
    """

    name: str
    status: Status = Status.DONE
    reason: str = ""
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class NoSpaceError(UserError):
    """The disk is full: going on would only repeat that for every image."""


def failure(name: str, error: Exception, told: bool = False) -> Outcome:
    """Puts an error into the words of a report.

    Args:
      name: of the image.
      error: what happened.
      told: the error names the file if it is a `UserError`.
    """
    if isinstance(error, UserError):
        reason = str(error)
    elif isinstance(error, MemoryError):
        reason = "takes more memory than there is: close other programs, or scale the image down"
    else:
        reason = f"unexpectedly failed ({type(error).__name__}: {error}): please report this"
    named = told and isinstance(error, UserError)
    return Outcome(name, Status.FAILED, reason if named else f"{name}: {reason}")
