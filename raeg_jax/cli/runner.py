"""Runs all images of a command through its operation, and counts what becomes of them."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from raeg_jax.cli.outputs import Outputs, Target
from raeg_jax.cli.pipeline import Operation, Pipeline
from raeg_jax.cli.report import Report, Result, StoppedError
from raeg_jax.cli.scan import SourceImage
from raeg_jax.errors import UserError
from raeg_jax.process import interruption

if TYPE_CHECKING:
    from raeg_jax.cli.record_source import MadeFile, RecordSource
    from raeg_jax.cli.records import RecordFile


class Stream(Protocol):
    """Images on their way; see `Pipeline`."""

    def __iter__(self) -> Iterator[Result]: ...

    def stop(self) -> Iterator[Result]: ...

    def close(self) -> None: ...


class Runner:
    """Runs images through operations.

    Args:
      report: counts every result.
      batch_size: number of pictures that the network takes at a time.
    """

    def __init__(self, report: Report, batch_size: int):
        self._report, self._batch_size = report, batch_size

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of images that are `finished` and that `failed`."""
        return self._report.outcome

    def run(self, images: Iterable[SourceImage], operation: Operation, outputs: Outputs) -> None:
        """Runs images through an operation.

        Args:
          images: of the source.
          operation: done to each.
          outputs: take what it makes, and every result.

        Raises:
          StoppedError: Ctrl-C, SIGTERM, or an output folder that can't be written any more.
        """
        pipeline = self._pipeline(images, operation, outputs)
        with (
            contextlib.closing(pipeline),
            self._reported(lambda: self._stop(pipeline, outputs)),
        ):
            for result in pipeline:
                self.add(result, outputs)

    def make_files(
        self,
        source: RecordSource,
        targets: Iterable[tuple[RecordFile, Target]],
        operation: Operation,
        staging: pathlib.Path,
    ) -> Iterator[tuple[RecordFile, MadeFile]]:
        """Makes record files, one after the other; arguments as for `RecordSource.make_file`."""
        for file, target in targets:
            made = source.make_file(
                file, target, staging, lambda images, outputs: self.run(images, operation, outputs)
            )
            yield file, made

    def add(self, result: Result, outputs: Outputs | None = None) -> None:
        """Counts a result; the outputs take note of it."""
        self._report.add(result)
        if outputs is not None:
            outputs.record(result)

    def _pipeline(
        self, images: Iterable[SourceImage], operation: Operation, outputs: Outputs
    ) -> Stream:
        return Pipeline(images, operation, outputs, self._batch_size)

    @contextlib.contextmanager
    def _reported(self, stop: Callable[[], None]) -> Iterator[None]:
        """Raises what ends the run early as `StoppedError`, with what has been done."""
        try:
            yield
        except KeyboardInterrupt as error:
            stop()
            message, status = interruption(error)
            raise StoppedError(f"{message}: {self._report.progress}", status) from None
        except UserError as error:
            stop()
            raise self._report.stopped(error) from error

    def _stop(self, pipeline: Stream, outputs: Outputs) -> None:
        # The manifest may be what can't be written; then the next run does these again.
        with contextlib.suppress(UserError):
            for result in pipeline.stop():
                self.add(result, outputs)
