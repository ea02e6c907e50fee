"""Many pictures on their way: read and written by threads while the network works.

Pictures are collected by the shape of their tiles, because a network takes batches of one shape.
What is in memory at a time is bounded by the number of pixels and by the size of files, however
many there are.
"""

import collections
import concurrent.futures
import contextlib
import os
import queue
import time
from collections.abc import Iterable, Iterator

from raeg_jax.errors import DivergedError
from raeg_jax.tool.outcome import NoSpaceError, Outcome, failure
from raeg_jax.tool.outputs import Written
from raeg_jax.tool.room import Room
from raeg_jax.tool.steps import Loaded, Steps
from raeg_jax.tool.walk import Job

# Between reading and writing at most so many pixels, or a single picture: 200 MB as uint8, three
# or four times that with what is made of them. Small pictures count as `LEAST`, and the bytes of
# files as `room.room_of` says.
ROOM = 2**26
LEAST = 2**14
# A batch has no more pixels, unless it is a single picture.
_BATCH_ROOM = 2**24
_READ_AHEAD = 64
# So many outputs, or those of so many seconds, are kept together: each time the disk is waited for.
_KEPT_TOGETHER = 32
_SECONDS = 1.0


class Flow:
    """All jobs on their way through all steps; iterate over it for the outcomes, in any order.

    Errors that steps raise become the outcome of their image, but for `NoSpaceError`,
    `DivergedError` and errors of keeping, which end the iteration.
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
        # Of (what to do with the result, what it is of, future); None only wakes up.
        self._events = queue.SimpleQueue()
        self._reading = self._writing = self._keeping = 0
        self._threads = threads
        self._room = Room(ROOM, lambda: self._events.put(None))
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
            event = self._events.get()
            if event is None or event[2].cancelled() or event[0] == self._has_read:
                continue
            then, subject, future = event
            # Where one file found no room, others being written may not either.
            with contextlib.suppress(NoSpaceError):
                yield from then(subject, future, last=True)
        yield from self._steps.keep(self._written)

    def close(self) -> None:
        """Waits for what threads are doing at the moment, and for no more."""
        self._room.close()
        self._readers.shutdown(cancel_futures=True)
        self._writers.shutdown(cancel_futures=True)
        self._keeper.shutdown()

    def _submit(self, pool, step, then, subject, *args):
        future = pool.submit(step, *args)
        future.add_done_callback(lambda done: self._events.put((then, subject, done)))

    def _next_event(self):
        event = self._events.get()
        if event is None:
            return ()
        then, subject, future = event
        return then(subject, future)

    def _read_ahead(self):
        while self._jobs is not None and self._reading < max(_READ_AHEAD, 2 * self._batch):
            job = next(self._jobs, None)
            if job is None:
                self._jobs = None
                return
            self._reading += 1
            self._submit(self._readers, self._read, self._has_read, job, job)

    def _read(self, job):
        begun = self._steps.begin(job)
        if isinstance(begun, Outcome):
            return begun
        begun = begun._replace(room=max(begun.room, LEAST))
        self._room.take(begun.room)
        try:
            return self._steps.read(begun)
        except BaseException:
            self._room.give(begun.room)
            raise

    def _has_read(self, job, future):
        self._reading -= 1
        loaded, outcome = _result(job, future)
        if outcome:
            yield outcome
            return
        shape = self._steps.shape(*loaded.picture.pixels.shape[:2])
        group = self._groups.setdefault(shape, [])
        group.append(loaded)
        if len(group) >= min(self._batch, max(1, _BATCH_ROOM // loaded.begun.room)):
            self._full.append(self._groups.pop(shape))

    def _take_group(self):
        """Returns the next batch; while more may come, only a full one."""
        if self._full:
            return self._full.popleft()
        # Nothing more will come as long as all that read wait for room.
        if self._groups and self._room.waiting == min(self._threads, self._reading):
            return self._groups.pop(max(self._groups, key=lambda shape: len(self._groups[shape])))
        return None

    def _transform(self, group):
        for one, result in zip(group, self._results(group), strict=True):
            if isinstance(result, Exception):
                self._room.give(one.begun.room)
                yield failure(one.job.name, result)
            else:
                self._writing += 1
                self._submit(self._writers, self._write, self._has_written, one.job, one, result)

    def _results(self, group):
        try:
            return self._steps.transform(group)
        except DivergedError:
            raise
        except Exception as error:
            if len(group) == 1:
                return [error]
            # What is wrong with one of them must not be laid at the others' door.
            return [result for one in group for result in self._results([one])]

    def _write(self, loaded, result):
        try:
            return self._steps.write(loaded, result)
        finally:
            self._room.give(loaded.begun.room)

    def _has_written(self, job, future, last=False):
        self._writing -= 1
        written, outcome = _result(job, future)
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
