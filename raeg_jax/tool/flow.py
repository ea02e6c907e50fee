"""Many pictures on their way: read and written by threads while the network works.

Pictures are collected by shape, because a network takes batches of one shape. What is in memory at
a time is bounded by the number of pixels, however many files there are.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import os
import queue
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from raeg_jax.codec.picture import Picture
from raeg_jax.tool.outcome import NoSpaceError, Outcome, failure
from raeg_jax.tool.outputs import Target, Written
from raeg_jax.tool.walk import Job

# Between reading and writing at most so many pixels, or a single picture: 200 MB as uint8, three
# or four times that with what is made of them. Small pictures count as `LEAST`.
ROOM = 2**26
LEAST = 2**14
# A batch has no more pixels, unless it is a single picture.
_BATCH_ROOM = 2**24
_READ_AHEAD = 64
# So many outputs, or those of so many seconds, are kept together: each time the disk is waited for.
_KEPT_TOGETHER = 32
_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """A picture ready for the network.

    Attributes:
      job: where it is from.
      picture: as read.
      target: where its output goes; None where nothing is written.
      label: its class, where known.
    """

    job: Job
    picture: Picture
    target: Target | None = None
    label: int | None = None

    @property
    def weight(self) -> int:
        """Its share of `ROOM`."""
        height, width = self.picture.pixels.shape[:2]
        return max(height * width, LEAST)


class Steps(Protocol):
    """The work on each picture."""

    def read(self, job: Job) -> Loaded | Outcome:
        """In threads; an outcome ends it, as does an error, which should name the file."""

    def transform(self, loaded: Sequence[Loaded]) -> Sequence[Any]:
        """In the thread of `Flow`, for pictures of one shape; errors may stand for results."""

    def write(self, loaded: Loaded, result: Any) -> Written | Outcome:
        """In threads, as `read`."""

    def keep(self, written: Sequence[Written]) -> list[Outcome]:
        """In one thread at a time."""


class Flow:
    """All jobs on their way through all steps; iterate over it for the outcomes, in any order.

    Errors that steps raise become the outcome of their image, but for `NoSpaceError` and errors of
    keeping, which end the iteration.
    """

    def __init__(self, jobs: Iterable[Job], steps: Steps, batch: int):
        """Begins nothing yet.

        Args:
          jobs: taken as there is room for them.
          steps: of the work.
          batch: number of pictures that the network takes at a time.
        """
        self._jobs, self._steps, self._batch = iter(jobs), steps, batch
        threads = max(2, min(8, os.cpu_count() or 1))
        pool = concurrent.futures.ThreadPoolExecutor
        self._readers = pool(threads, "raeg-read")
        self._writers = pool(threads, "raeg-write")
        self._keeper = pool(1, "raeg-keep")
        # Of (what to do with the result, job, future).
        self._events = queue.SimpleQueue()
        self._reading = self._writing = self._keeping = 0
        self._held, self._largest = 0, LEAST
        # By shape; and batches that are full.
        self._groups: dict[tuple[int, ...], list[Loaded]] = {}
        self._full: collections.deque[list[Loaded]] = collections.deque()
        self._written: list[Written] = []
        self._kept_at = time.monotonic()

    def __iter__(self) -> Iterator[Outcome]:
        while True:
            while not self._events.empty():
                yield from self._next_event()
            self._read_ahead()
            group = self._take_group()
            if group:
                yield from self._transform(group)
            elif self._reading or self._writing or self._keeping:
                yield from self._next_event()
            elif self._written:
                self._keep()
            elif self._jobs is None:
                return

    def stop(self) -> Iterator[Outcome]:
        """Ends early: begins nothing more, keeps what is written, and tells what became of that."""
        self.close()
        while not self._events.empty():
            then, subject, future = self._events.get()
            if not future.cancelled() and then != self._has_read:
                # Where one file found no room, others being written may not either.
                with contextlib.suppress(NoSpaceError):
                    yield from then(subject, future, last=True)
        yield from self._steps.keep(self._written)

    def close(self) -> None:
        """Waits for what threads are doing at the moment, and for no more."""
        self._readers.shutdown(cancel_futures=True)
        self._writers.shutdown(cancel_futures=True)
        self._keeper.shutdown()

    def _submit(self, pool, step, then, subject, *args):
        future = pool.submit(step, *args)
        future.add_done_callback(lambda done: self._events.put((then, subject, done)))

    def _next_event(self):
        then, subject, future = self._events.get()
        return then(subject, future)

    def _read_ahead(self):
        while self._jobs is not None and self._reading < max(_READ_AHEAD, 2 * self._batch):
            # Those that are being read may be as large as any before.
            expected = self._held + (self._reading + 1) * self._largest
            if expected > ROOM and self._reading + self._held:
                return
            job = next(self._jobs, None)
            if job is None:
                self._jobs = None
                return
            self._reading += 1
            self._submit(self._readers, self._steps.read, self._has_read, job, job)

    def _has_read(self, job, future):
        self._reading -= 1
        loaded, outcome = _result(job, future)
        if outcome:
            yield outcome
            return
        self._held += loaded.weight
        # One large picture among small ones is forgotten after a while.
        self._largest = max(0.9 * self._largest, loaded.weight)
        shape = loaded.picture.pixels.shape
        group = self._groups.setdefault(shape, [])
        group.append(loaded)
        if len(group) >= min(self._batch, max(1, _BATCH_ROOM // loaded.weight)):
            self._full.append(self._groups.pop(shape))

    def _take_group(self):
        """Returns the next batch; while more may come, only a full one."""
        if self._full:
            return self._full.popleft()
        if self._groups and not self._reading:
            return self._groups.pop(max(self._groups, key=lambda shape: len(self._groups[shape])))
        return None

    def _transform(self, group):
        for one, result in zip(group, self._results(group), strict=True):
            if isinstance(result, Exception):
                self._held -= one.weight
                yield failure(one.job.name, result)
            else:
                self._writing += 1
                self._submit(self._writers, self._steps.write, self._has_written, one, one, result)

    def _results(self, group):
        try:
            return self._steps.transform(group)
        except Exception as error:
            if len(group) == 1:
                return [error]
            # What is wrong with one of them must not be laid at the others' door.
            return [result for one in group for result in self._results([one])]

    def _has_written(self, loaded, future, last=False):
        self._writing -= 1
        self._held -= loaded.weight
        written, outcome = _result(loaded.job, future)
        if outcome:
            yield outcome
            return
        self._written.append(written)
        late = time.monotonic() - self._kept_at > _SECONDS
        if (late or len(self._written) >= _KEPT_TOGETHER) and not last:
            self._keep()

    def _keep(self):
        written, self._written = self._written, []
        self._kept_at = time.monotonic()
        self._keeping += 1
        self._submit(self._keeper, self._steps.keep, self._has_kept, written, written)

    def _has_kept(self, _, future, last=False):
        self._keeping -= 1
        yield from future.result()


def _result(job, future):
    """Returns what a step returned, or the outcome that ends the work on its picture."""
    try:
        result = future.result()
    except NoSpaceError:
        raise
    except Exception as error:
        return None, failure(job.name, error, told=True)
    return (None, result) if isinstance(result, Outcome) else (result, None)
