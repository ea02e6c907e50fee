"""The steps that a picture takes, from file to file."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from raeg_jax.image_file.read import ImageFile
from raeg_jax.tool.outcome import Outcome, Status
from raeg_jax.tool.outputs import Outputs, Target, Written
from raeg_jax.tool.walk import Job


class Begun(NamedTuple):
    """An image that is to be read.

    Attributes:
      job: where it is: a `walk.Job`, or what reads itself as one.
      target: where its output goes; None where nothing is written.
      room: how much of it the image takes, in pixels, see `room.room_of`.
    """

    job: Job
    target: Target | None
    room: int


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """A picture ready for the network.

    Attributes:
      begun: what it was read from.
      picture: as read.
      label: its class, where known.
    """

    begun: Begun
    picture: ImageFile
    label: int | None = None

    @property
    def job(self) -> Job:
        """Where it is from."""
        return self.begun.job


class Steps(Protocol):
    """The work on each picture. An outcome in place of a result ends it.

    So does an error: a `UserError` should name the file, but in `transform`.
    """

    def begin(self, job: Job) -> Begun | Outcome:
        """In threads: looks at a file without decoding it."""

    def read(self, begun: Begun) -> Loaded:
        """In threads, as soon as there is room."""

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """What pictures of a size must have in common with others to be transformed with them."""

    def transform(self, loaded: Sequence[Loaded]) -> Sequence[Any]:
        """In the main thread, for pictures of one such shape; errors may stand for results."""

    def write(self, loaded: Loaded, result: Any) -> Written | Outcome:
        """In threads."""

    def keep(self, written: Sequence[Written]) -> list[Outcome]:
        """In one thread at a time."""


def begin(job: Job, outputs: Outputs) -> Begun | Outcome:
    """Begins the way of a picture to an output, unless it is finished."""
    target = outputs.begin(job)
    if target is None:
        return Outcome(job.name, Status.SKIPPED)
    return Begun(job, target, job.room())
