"""Ray actors that do tasks, and are replaced when they die."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from raeg_jax.cli.report import log
from raeg_jax.errors import UserError
from raeg_jax.scale.ray_cluster import Cluster
from raeg_jax.scale.worker import Worker

# While the network works on one task, files of another are read and written.
_TASKS_A_WORKER = 2
# After so many deaths of its workers a task is divided, as one of its images may kill them, and
# each part has a worker for itself, so that no other is blamed; after so many it is given up.
_DEATHS_OF_MANY, _DEATHS = 2, 10
# So many workers in a row may die before they have started, as where other programs take the
# memory for a while; after each the pause doubles.
_FAILED_STARTS = 8
_PAUSE_SECONDS = 0.5
_POLL_SECONDS, _END_SECONDS = 1.0, 5.0


@dataclasses.dataclass
class Task:
    """What a worker does at a time.

    Attributes:
      method: of `Worker`.
      work: its first arguments.
      staging: its last argument.
      divide: returns smaller tasks, or only this one.
      deaths: number of workers that died on it.
    """

    method: str
    work: tuple[Any, ...]
    staging: pathlib.Path
    divide: Callable[[Task], list[Task]]
    deaths: int = 0

    @property
    def weight(self) -> int:
        """How many of the tasks that a worker may have it counts for."""
        return _TASKS_A_WORKER if self.deaths >= _DEATHS_OF_MANY else 1


class Workers:
    """Actors that do tasks; those that die, with their nodes or alone, are replaced.

    Args:
      cluster: where they are.
      worker: arguments of `Worker`.
    """

    def __init__(self, cluster: Cluster, worker: Sequence[Any]):
        self._cluster, self._ray, self._arguments = cluster, cluster.ray, worker
        self._actor = cluster.ray.remote(Worker).options(
            max_concurrency=_TASKS_A_WORKER, scheduling_strategy="SPREAD", **cluster.resources
        )
        # Actors, with the weights of their tasks.
        self._load: dict[Any, int] = {}
        self._starting: dict[Any, Any] = {}
        self._running: dict[Any, tuple[Task, Any]] = {}
        self._again: collections.deque[Task] = collections.deque()
        self._failed_starts, self._starts_from = 0, 0.0

    def results(self, tasks: Iterator[Task | None]) -> Iterator[tuple[Task, Any] | None]:
        """Does tasks, in any order.

        Args:
          tasks: None where whoever makes them has something to say, which is yielded at once.

        Yields:
          a task and what its method returned, or a `UserError` where too many workers died on it.

        Raises:
          UserError: raised by a method, or workers don't start.
        """
        waiting: Task | None = None
        more = True
        while more or waiting or self._again or self._running:
            if more and not waiting and not self._again:
                try:
                    waiting = next(tasks)
                except StopIteration:
                    more = False
                if not waiting:
                    yield None
                    continue
            task = self._again[0] if self._again else waiting
            if task:
                self._start_all()
            actor = self._free(task.weight) if task else None
            if not task or not actor:
                yield from self._arrived(_POLL_SECONDS)
                continue
            self._submit(task, actor)
            if task is waiting:
                waiting = None
            else:
                self._again.popleft()

    def arrived(self) -> Iterator[tuple[Task, Any]]:
        """Yields what has been done by now, and waits for nothing."""
        yield from self._arrived(0, every=True)

    def close(self) -> None:
        """Ends all actors, which write nothing any more when this returns."""
        pending = [*self._running, *self._starting]
        for actor in [*self._load, *self._starting.values()]:
            with contextlib.suppress(Exception):
                self._ray.kill(actor)
        with contextlib.suppress(Exception):
            self._ray.wait(pending, num_returns=len(pending), timeout=_END_SECONDS)
        self._load.clear()
        self._starting.clear()
        self._running.clear()

    def _start_all(self) -> None:
        """Starts the workers that aren't there, also those whose predecessors died."""
        if time.monotonic() < self._starts_from:
            return
        while len(self._load) + len(self._starting) < self._cluster.workers:
            actor = self._actor.remote(*self._arguments)
            self._starting[actor.start.remote()] = actor

    def _free(self, weight: int) -> Any:
        """Returns the actor that has the fewest tasks, if it may have more."""
        actor = min(self._load, key=self._load.__getitem__, default=None)
        return actor if actor and self._load[actor] + weight <= _TASKS_A_WORKER else None

    def _submit(self, task: Task, actor: Any) -> None:
        reference = getattr(actor, task.method).remote(*task.work, task.staging)
        self._running[reference] = task, actor
        self._load[actor] += task.weight

    def _arrived(self, seconds: float, every: bool = False) -> Iterator[tuple[Task, Any]]:
        pending = [*self._running, *self._starting]
        if not pending:
            time.sleep(seconds)
            return
        most = len(pending) if every else 1
        with self._cluster.interruptible():
            ready, _ = self._ray.wait(pending, num_returns=most, timeout=seconds)
        for reference in ready:
            value, died = self._value(reference)
            if actor := self._starting.pop(reference, None):
                self._take_started(actor, value, died)
                continue
            task, actor = self._running.pop(reference)
            if not died:
                self._load[actor] -= task.weight
                yield task, value
                continue
            self._replace(actor)
            task.deaths += 1
            if task.deaths >= _DEATHS:
                yield task, UserError(f"{task.deaths} workers died on it ({value}): leave it out")
            else:
                self._again += task.divide(task) if task.deaths >= _DEATHS_OF_MANY else [task]

    def _value(self, reference: Any) -> tuple[Any, bool]:
        """Returns what a method returned, or why its worker died; and whether it did."""
        try:
            with self._cluster.interruptible():
                return self._ray.get(reference), False
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise UserError(f"a worker failed ({error.cause!r}): please report this") from error
        except self._ray.exceptions.RayError as error:
            return (str(error) or type(error).__name__).splitlines()[0], True

    def _take_started(self, actor: Any, why: Any, died: bool) -> None:
        if not died:
            self._load[actor] = 0
            self._failed_starts = 0
            return
        self._failed_starts += 1
        self._starts_from = time.monotonic() + _PAUSE_SECONDS * 2**self._failed_starts
        if self._failed_starts == _FAILED_STARTS:
            raise UserError(
                f"workers die before they have started ({why}): see Ray's logs, which are in "
                "/tmp/ray/session_latest/logs unless told otherwise"
            )

    def _replace(self, actor: Any) -> None:
        if self._load.pop(actor, None) is not None:
            log("a worker died: another one takes its place, and does its images again")
