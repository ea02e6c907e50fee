"""Taking all images of a source through some steps, and telling what became of them."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable

import tqdm

from raeg_jax.bar import Bar
from raeg_jax.errors import UserError
from raeg_jax.launch import INTERRUPTED
from raeg_jax.tool.flow import Flow
from raeg_jax.tool.outcome import Outcome, Status
from raeg_jax.tool.report import Report
from raeg_jax.tool.steps import Steps
from raeg_jax.tool.walk import Job

FAILED = 1


class StoppedError(Exception):
    """The run ended before all images had their turn.

    Attributes:
      status: the exit status.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class Runner:
    """Takes images through steps, and takes note of what becomes of them."""

    def __init__(self, report: Report, bar: tqdm.tqdm, batch: int):
        """Does nothing yet.

        Args:
          report: takes note of every outcome.
          bar: counts images.
          batch: number of pictures that the network takes at a time.
        """
        self.report = report
        self._bar, self._batch, self._rate = bar, batch, _Rate()

    def run(self, jobs: Iterable[Job], steps: Steps, tell: Callable[[Outcome], None]) -> None:
        """Takes images through steps.

        Args:
          jobs: the images.
          steps: of the work, see `flow`.
          tell: called with every outcome.

        Raises:
          StoppedError: Ctrl-C, or an output folder that can't be written any more.
        """
        work = Flow(jobs, steps, self._batch)
        try:
            for outcome in work:
                self.note(outcome, tell)
        except KeyboardInterrupt:
            self._stop(work, tell)
            raise StoppedError(f"interrupted: {self.report.progress}", INTERRUPTED) from None
        except UserError as error:
            self._stop(work, tell)
            raise self.stopped(error) from error
        finally:
            work.close()

    def note(self, outcome: Outcome, tell: Callable[[Outcome], None] = lambda _: None) -> None:
        """Takes note of an outcome, and lets `tell` do so too."""
        self.report.add(outcome)
        tell(outcome)
        self._bar.set_postfix_str(self._rate.after(outcome), refresh=False)
        self._bar.update()

    def stopped(self, error: UserError) -> StoppedError:
        """Makes the end of a run of an error."""
        return StoppedError(f"error: {error}; {self.report.progress}", FAILED)

    def _stop(self, work: Flow, tell: Callable[[Outcome], None]) -> None:
        # The manifest may be what can't be written; then the next run does these again.
        with contextlib.suppress(UserError):
            for outcome in work.stop():
                self.note(outcome, tell)


def progress_bar(what: str, total: int) -> tqdm.tqdm:
    """Shows a bar where somebody is looking."""
    return Bar(
        total=total,
        desc=what,
        file=sys.stderr,
        disable=None,
        dynamic_ncols=True,
        bar_format="{desc} |{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]{postfix}",
    )


class _Rate:
    """Images a second since the first result, before which programs are compiled."""

    def __init__(self):
        self._since, self._count = None, 0

    def after(self, outcome: Outcome) -> str:
        """Counts an outcome; returns the rate, empty where it isn't known yet."""
        if outcome.status is Status.SKIPPED:
            return ""
        now = time.monotonic()
        if self._since is None:
            self._since = now
            return ""
        self._count += 1
        return f"{self._count / max(now - self._since, 1e-9):.1f} images/s"
