"""Runs images through a pipeline with a progress bar, and counts the results."""

import contextlib
import sys
import time
from collections.abc import Iterable

import tqdm

from raeg_jax import process
from raeg_jax.bar import ProgressBar
from raeg_jax.cli.outputs import Outputs
from raeg_jax.cli.pipeline import Operation, Pipeline
from raeg_jax.cli.report import Report, Result, Status, StoppedError
from raeg_jax.cli.scan import SourceImage
from raeg_jax.errors import UserError


class Runner:
    """Runs images through an operation.

    Args:
      report: counts every result.
      bar: counts images.
      batch_size: number of pictures that the network takes at a time.
    """

    def __init__(self, report: Report, bar: tqdm.tqdm, batch_size: int):
        self.report = report
        self._bar, self._batch_size = bar, batch_size
        # When the first result came, before which programs are compiled; and results since.
        self._since: float | None = None
        self._count = 0

    def run(self, images: Iterable[SourceImage], operation: Operation, outputs: Outputs) -> None:
        """Runs images through an operation.

        Args:
          images: of the source.
          operation: done to each.
          outputs: take what it makes, and every result.

        Raises:
          StoppedError: Ctrl-C, SIGTERM, or an output folder that can't be written any more.
        """
        pipeline = Pipeline(images, operation, outputs, self._batch_size)
        try:
            for result in pipeline:
                self.add(result, outputs)
        except KeyboardInterrupt as error:
            self._stop(pipeline, outputs)
            message, status = process.interruption(error)
            raise StoppedError(f"{message}: {self.report.progress}", status) from None
        except UserError as error:
            self._stop(pipeline, outputs)
            raise self.stopped(error) from error
        finally:
            pipeline.close()

    def add(self, result: Result, outputs: Outputs | None = None) -> None:
        """Counts a result; the outputs take note of it."""
        self.report.add(result)
        if outputs is not None:
            outputs.record(result)
        self._bar.set_postfix_str(self._rate(result), refresh=False)
        self._bar.update()

    def stopped(self, error: UserError) -> StoppedError:
        """Returns the error of a run that an error ended."""
        return StoppedError(f"error: {error}; {self.report.progress}")

    def _stop(self, pipeline: Pipeline, outputs: Outputs) -> None:
        # The manifest may be what can't be written; then the next run does these again.
        with contextlib.suppress(UserError):
            for result in pipeline.stop():
                self.add(result, outputs)

    def _rate(self, result: Result) -> str:
        if result.status is Status.SKIPPED:
            return ""
        now = time.monotonic()
        if self._since is None:
            self._since = now
            return ""
        self._count += 1
        return f"{self._count / max(now - self._since, 1e-9):.1f} images/s"


def progress_bar(verb: str, total: int) -> tqdm.tqdm:
    """Shows a bar if standard error is a terminal."""
    return ProgressBar(
        total=total,
        desc=verb,
        file=sys.stderr,
        disable=None,
        dynamic_ncols=True,
        bar_format="{desc} |{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]{postfix}",
    )
