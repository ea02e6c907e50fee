"""Many pictures at a time: read and written by threads while the network works.

Pictures are collected by the shape of their tiles, because a network takes batches of one shape.
What is in memory at a time is bounded by the number of pixels and by the size of files, however
many there are.
"""

import abc
import collections
import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from raeg_jax.cli.outputs import Output, Outputs, Target, Written
from raeg_jax.cli.report import NoSpaceError, Result, Status, failure
from raeg_jax.cli.scan import SourceImage
from raeg_jax.errors import DivergedError
from raeg_jax.image_file.read import ImageFile

# Between reading and writing at most so many pixels, or a single picture: 200 MB as uint8, three
# or four times that with what is made of them. Small pictures count as `LEAST`, and the bytes of
# files as `read.pixel_cost` says.
BUDGET = 2**26
LEAST = 2**14
# A batch has no more pixels, unless it is a single picture.
_BATCH_PIXELS = 2**24
_READ_AHEAD = 64
# So many outputs, or those of so many seconds, are committed together: each time the disk is
# waited for.
_COMMIT_COUNT = 32
_COMMIT_SECONDS = 1.0

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """An image that has been read.

    Attributes:
      image: of the source.
      picture: as read.
      label: its class, where known.
      originals: for `raeg verify`, pictures one of which is its original.
    """

    image: SourceImage
    picture: ImageFile
    label: int | None = None
    originals: tuple[ImageFile, ...] = ()


class Operation(abc.ABC, Generic[T]):
    """What is done to each picture; `T` is what the network makes of it.

    Any error that a method raises is the result of the image; a `UserError` should name the file,
    but in `transform`.
    """

    @property
    def batch_size(self) -> int | None:
        """How many pictures to take at a time at most; None for as many as the user says."""
        return None

    def cost(self, image: SourceImage) -> int:
        """In threads: what `read` takes of the pixel budget; decodes nothing."""
        return image.cost()

    @abc.abstractmethod
    def read(self, image: SourceImage) -> Loaded:
        """In threads, as soon as the budget allows."""

    @abc.abstractmethod
    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Returns what all pictures of a batch have in common: the shape of their tiles."""

    @abc.abstractmethod
    def transform(self, batch: Sequence[Loaded]) -> Sequence[T | Exception]:
        """In the main thread, for pictures of one shape."""

    @abc.abstractmethod
    def output(self, loaded: Loaded, value: T, path: pathlib.Path) -> Output:
        """In threads: what is written to a path of what `transform` returned."""


class _Item(NamedTuple):
    """A picture on its way, its target, and what it takes of the pixel budget."""

    loaded: Loaded
    target: Target
    cost: int


class _Event(NamedTuple):
    """A future that is done, and the method that takes its result."""

    take: Callable[..., Iterable[Result]]
    image: SourceImage | None
    future: concurrent.futures.Future


class BudgetClosedError(RuntimeError):
    """The budget is closed: the run ends."""


class PixelBudget:
    """A number of pixels that threads share; a larger picture is let in when it is alone.

    Args:
      size: number of pixels.
      on_wait: called when a thread begins to wait.
    """

    def __init__(self, size: int, on_wait: Callable[[], None]):
        self._size, self._on_wait = size, on_wait
        self._used, self._waiting, self._closed = 0, 0, False
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """Number of threads that wait for pixels."""
        return self._waiting

    def acquire(self, pixels: int) -> None:
        """Takes pixels, as soon as there are enough.

        Raises:
          BudgetClosedError: `close` has been called.
        """
        with self._changed:
            if self._lacks(pixels):
                self._waiting += 1
                self._on_wait()
                self._changed.wait_for(lambda: self._closed or not self._lacks(pixels))
                self._waiting -= 1
            if self._closed:
                raise BudgetClosedError
            self._used += pixels

    def release(self, pixels: int) -> None:
        """Gives back what `acquire` took."""
        with self._changed:
            self._used -= pixels
            self._changed.notify_all()

    def close(self) -> None:
        """Ends all waiting with an error."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _lacks(self, pixels: int) -> bool:
        return bool(self._used) and self._used + pixels > self._size


class Pipeline:
    """All images on their way through an operation; iterate for the results, in any order.

    Errors of an image become its result, but for `NoSpaceError`, `DivergedError` and errors of
    committing, which end the iteration.

    Args:
      images: taken as the budget allows.
      operation: done to each.
      outputs: take what it makes.
      batch_size: number of pictures that the network takes at a time.
    """

    def __init__(
        self,
        images: Iterable[SourceImage],
        operation: Operation,
        outputs: Outputs,
        batch_size: int,
    ):
        self._images: Iterator[SourceImage] | None = iter(images)
        self._operation, self._outputs = operation, outputs
        self._batch_size = min(batch_size, operation.batch_size or batch_size)
        self._threads = max(2, min(8, os.cpu_count() or 1))
        pool = concurrent.futures.ThreadPoolExecutor
        self._readers = pool(self._threads, "raeg-read")
        self._writers = pool(self._threads, "raeg-write")
        self._committer = pool(1, "raeg-commit")
        # None only wakes the main thread up.
        self._events: queue.SimpleQueue[_Event | None] = queue.SimpleQueue()
        self._reading = self._writing = self._committing = 0
        self._budget = PixelBudget(BUDGET, lambda: self._events.put(None))
        # By shape; and batches that are full.
        self._groups: dict[tuple[int, int], list[_Item]] = {}
        self._full: collections.deque[list[_Item]] = collections.deque()
        self._written: list[Written] = []
        self._committed_at = time.monotonic()

    def __iter__(self) -> Iterator[Result]:
        while True:
            while not self._events.empty():
                yield from self._next_event()
            self._read_ahead()
            batch = self._take_batch()
            if batch:
                yield from self._transform(batch)
            elif self._reading or self._writing or self._committing:
                yield from self._next_event()
            elif self._written:
                self._commit()
            elif self._images is None:
                return

    def stop(self) -> Iterator[Result]:
        """Ends early: begins nothing more, commits what is written, and yields its results."""
        self.close()
        while not self._events.empty():
            event = self._events.get()
            if event is None or event.future.cancelled() or event.take == self._take_read:
                continue
            # Where one file found no room, others being written may not either.
            with contextlib.suppress(NoSpaceError):
                yield from event.take(event.image, event.future, last=True)
        yield from self._outputs.commit(self._written)

    def close(self) -> None:
        """Waits for what threads are doing at the moment, and for no more."""
        self._budget.close()
        self._readers.shutdown(cancel_futures=True)
        self._writers.shutdown(cancel_futures=True)
        self._committer.shutdown()

    def _submit(self, pool, call, take, image, *args) -> None:
        future = pool.submit(call, *args)
        future.add_done_callback(lambda done: self._events.put(_Event(take, image, done)))

    def _next_event(self) -> Iterable[Result]:
        event = self._events.get()
        return event.take(event.image, event.future) if event else ()

    def _read_ahead(self) -> None:
        while self._images is not None and self._reading < max(_READ_AHEAD, 2 * self._batch_size):
            image = next(self._images, None)
            if image is None:
                self._images = None
                return
            self._reading += 1
            self._submit(self._readers, self._read, self._take_read, image, image)

    def _read(self, image: SourceImage) -> _Item | Result:
        target = self._outputs.begin(image)
        if target is None:
            return Result(image.name, Status.SKIPPED)
        cost = max(self._operation.cost(image), LEAST)
        self._budget.acquire(cost)
        try:
            return _Item(self._operation.read(image), target, cost)
        except BaseException:
            self._budget.release(cost)
            raise

    def _take_read(self, image, future) -> Iterator[Result]:
        self._reading -= 1
        item = _result_of(image, future)
        if isinstance(item, Result):
            yield item
            return
        shape = self._operation.shape(*item.loaded.picture.pixels.shape[:2])
        group = self._groups.setdefault(shape, [])
        group.append(item)
        if len(group) >= min(self._batch_size, max(1, _BATCH_PIXELS // item.cost)):
            self._full.append(self._groups.pop(shape))

    def _take_batch(self) -> list[_Item] | None:
        """Returns the next batch; while more pictures may come, only a full one."""
        if self._full:
            return self._full.popleft()
        # Nothing more will come as long as all that read wait for the budget.
        if self._groups and self._budget.waiting == min(self._threads, self._reading):
            return self._groups.pop(max(self._groups, key=lambda shape: len(self._groups[shape])))
        return None

    def _transform(self, batch: list[_Item]) -> Iterator[Result]:
        values = self._values([item.loaded for item in batch])
        for item, value in zip(batch, values, strict=True):
            image = item.loaded.image
            if isinstance(value, Exception):
                self._budget.release(item.cost)
                yield failure(image.name, value)
            else:
                self._writing += 1
                self._submit(self._writers, self._write, self._take_written, image, item, value)

    def _values(self, batch: list[Loaded]) -> Sequence[Any]:
        try:
            return self._operation.transform(batch)
        except DivergedError:
            raise
        except Exception as error:
            if len(batch) == 1:
                return [error]
            # One image's error must not become that of the others.
            return [value for loaded in batch for value in self._values([loaded])]

    def _write(self, item: _Item, value: Any) -> Written | Result:
        try:
            output = self._operation.output(item.loaded, value, item.target.path)
            return self._outputs.write(item.loaded.image, item.target, output)
        finally:
            self._budget.release(item.cost)

    def _take_written(self, image, future, last: bool = False) -> Iterator[Result]:
        self._writing -= 1
        written = _result_of(image, future)
        if isinstance(written, Result):
            yield written
            return
        self._written.append(written)
        late = time.monotonic() - self._committed_at > _COMMIT_SECONDS
        if (late or len(self._written) >= _COMMIT_COUNT) and not last:
            self._commit()

    def _commit(self) -> None:
        written, self._written = self._written, []
        self._committed_at = time.monotonic()
        self._committing += 1
        self._submit(self._committer, self._outputs.commit, self._take_committed, None, written)

    def _take_committed(self, image, future, last: bool = False) -> Iterator[Result]:
        self._committing -= 1
        yield from future.result()


def _result_of(image: SourceImage, future: concurrent.futures.Future) -> Any:
    """Returns what a thread returned, or the result of the image that it failed on."""
    try:
        return future.result()
    except NoSpaceError:
        raise
    except Exception as error:
        return failure(image.name, error, names_file=True)
