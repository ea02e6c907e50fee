"""The engine of `--engine ray`: actors make outputs, the driver alone claims and names them."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from raeg_jax.cli.engine import Engine
from raeg_jax.cli.generators import Generators
from raeg_jax.cli.outputs import FolderOutputs, Outputs, Target
from raeg_jax.cli.pipeline import LEAST, Operation
from raeg_jax.cli.record_source import MadeFile, RecordSource
from raeg_jax.cli.records import RecordFile
from raeg_jax.cli.report import Report, Result, Status, counted, failure, log
from raeg_jax.cli.runner import Runner
from raeg_jax.cli.scan import Paths, SourceImage
from raeg_jax.errors import UserError
from raeg_jax.payload.key import Key
from raeg_jax.scale.ray_cluster import Cluster, connect
from raeg_jax.scale.ray_workers import Task, Workers
from raeg_jax.scale.recipe import Recipe

if TYPE_CHECKING:
    from raeg_jax.cli.commands import ConvertOptions, ProtectOptions
    from raeg_jax.protection.loaded_generator import LoadedGenerator

# A task has so many batches of images at most, and so many pixels.
_BATCHES_A_TASK = 4
_PIXELS_A_TASK = 2**25


class RayPipeline:
    """A folder's images on their way through workers; see `Pipeline`.

    Args:
      images: of the source.
      workers: make the outputs.
      outputs: of the folder.
      batch_size: images that a network takes at a time.
    """

    def __init__(
        self,
        images: Iterable[SourceImage],
        workers: Workers,
        outputs: FolderOutputs,
        batch_size: int,
    ):
        self._images, self._workers, self._outputs = iter(images), workers, outputs
        self._most = batch_size * _BATCHES_A_TASK
        self._readers = concurrent.futures.ThreadPoolExecutor(max(2, min(8, os.cpu_count() or 1)))
        # Results of images that no worker is needed for.
        self._results: collections.deque[Result] = collections.deque()

    def __iter__(self) -> Iterator[Result]:
        for done in self._workers.results(self._tasks()):
            while self._results:
                yield self._results.popleft()
            if done:
                yield from self._commit(*done)
        yield from self._results

    def stop(self) -> Iterator[Result]:
        """Ends early: begins nothing more, commits what has been made, and yields its results."""
        for done in self._workers.arrived():
            yield from self._commit(*done)

    def close(self) -> None:
        """Ends the workers."""
        self._readers.shutdown(cancel_futures=True)
        self._workers.close()

    def _commit(self, task: Task, value: Any) -> Iterator[Result]:
        if isinstance(value, UserError):
            yield from (failure(image.name, value) for image, _ in task.work[0])
            return
        results, written = value
        yield from results
        yield from self._outputs.commit(written)

    def _tasks(self) -> Iterator[Task | None]:
        items: list[tuple[SourceImage, Target]] = []
        pixels = 0
        while images := list(itertools.islice(self._images, self._most)):
            for begun in self._readers.map(self._begin, images):
                if isinstance(begun, Result):
                    self._results.append(begun)
                    continue
                image, target, cost = begun
                if items and (len(items) == self._most or pixels + cost > _PIXELS_A_TASK):
                    yield self._task(items)
                    items, pixels = [], 0
                items.append((image, target))
                pixels += cost
            if self._results:
                yield None
        if items:
            yield self._task(items)

    def _task(self, items: list[tuple[SourceImage, Target]]) -> Task:
        return Task("convert", (items,), self._outputs.staging, _divide)

    def _begin(self, image: SourceImage) -> tuple[SourceImage, Target, int] | Result:
        try:
            target = self._outputs.begin(image)
            if target is None:
                return Result(image.name, Status.SKIPPED)
            return image, target, max(image.cost(), LEAST)
        except Exception as error:
            return failure(image.name, error, names_file=True)


def _divide(task: Task) -> list[Task]:
    return [dataclasses.replace(task, work=([item],)) for item in task.work[0]]


class RayRunner(Runner):
    """Runs images through operations that workers make; see `Runner`.

    Args:
      workers: that do it.
      report: counts every result.
      batch_size: images that a network takes at a time.
    """

    def __init__(self, workers: Workers, report: Report, batch_size: int):
        super().__init__(report, batch_size)
        self._workers = workers

    def make_files(
        self,
        source: RecordSource,
        targets: Iterable[tuple[RecordFile, Target]],
        operation: Operation,
        staging: pathlib.Path,
    ) -> Iterator[tuple[RecordFile, MadeFile]]:
        """See `Runner`: several at a time."""
        tasks = (Task("make_file", pair, staging, lambda task: [task]) for pair in targets)
        with contextlib.closing(self._workers), self._reported(lambda: None):
            for done in self._workers.results(tasks):
                if done:
                    yield self._take_file(*done)

    def _take_file(self, task: Task, value: Any) -> tuple[RecordFile, MadeFile]:
        file: RecordFile = task.work[0]
        if isinstance(value, UserError):
            return file, MadeFile(reason=f"{file.path}: {value}")
        results, made = value
        for result in results:
            self.add(result)
        return file, made

    def _pipeline(
        self, images: Iterable[SourceImage], operation: Operation, outputs: Outputs
    ) -> RayPipeline:
        assert isinstance(outputs, FolderOutputs)
        return RayPipeline(images, self._workers, outputs, self._batch_size)


class RayEngine(Engine):
    """Workers of a cluster.

    Args:
      cluster: where they are.
      paths: of source and outputs.
    """

    def __init__(self, cluster: Cluster, paths: Paths):
        self._cluster, self._paths = cluster, paths

    def protection(
        self,
        options: ProtectOptions,
        key: Key,
        generator: LoadedGenerator,
        label_of: Callable[[Any], int | None],
    ) -> Operation:
        """See `Engine`."""
        return Recipe(options, label_of, generator.id.hex())

    def recovery(self, options: ConvertOptions, key: Key, generators: Generators) -> Operation:
        """See `Engine`."""
        return Recipe(options)

    @contextlib.contextmanager
    def runner(self, operation: Operation, report: Report, batch_size: int) -> Iterator[Runner]:
        """See `Engine`."""
        workers = Workers(self._cluster, (operation, self._paths, batch_size))
        with contextlib.closing(workers):
            yield RayRunner(workers, report, batch_size)


@contextlib.contextmanager
def open_ray(address: str | None, workers: int | None, paths: Paths) -> Iterator[RayEngine]:
    """Connects to a cluster; arguments as for `ray_cluster.connect`."""
    with connect(address, workers) as cluster:
        log(f"Ray: {counted(cluster.workers, 'worker')}")
        yield RayEngine(cluster, paths)
