"""The loop of training steps that generators and classifiers share: log, bar, signals."""

import contextlib
import itertools
import math
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from raeg_jax.compilation import ProgressBar
from raeg_jax.errors import UserError
from raeg_jax.training.logs import MetricLog
from raeg_jax.workdir.processes import is_main_process

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# Steps whose metrics may wait on the devices before they are fetched and checked.
_MOST_PENDING = 50
# JAX stops all processes at the same number, one above the largest that any has reached when the
# signal comes: numbers that begin at the step resumed at, or again with each loop, would miss it.
_SYNC_POINTS = itertools.count(1)


class DivergedError(UserError):
    """A metric of a training step is not finite, or the trained weights can't be exact."""


class Loop(contextlib.ExitStack):
    """Counts the steps of a training run, checks and logs their metrics, and stops at a signal.

    with Loop("training", folder, start, config, "train", advice) as loop:
        for step in loop:
            state, metrics = take_step(state)
            loop.record(metrics)
            if loop.stopping or loop.is_due(config.train.checkpoint_every):
                with loop.pause("saving a checkpoint…"):
                    ...

    Attributes:
      step: number of the step being taken, or of the last one.
      signal: name of the signal that asked the run to stop; None without.
      log: the run's numbers.
    """

    def __init__(
        self,
        what: str,
        folder: pathlib.Path,
        start: int,
        config: ConfigDict,
        part: str,
        advice: Callable[[], str],
    ):
        """Prepares the steps after `start`.

        Args:
          what: what the steps do, such as 'training the generator'.
          folder: of the log.
          start: steps taken before, by the run that this one continues.
          config: the whole configuration; `config.train` says how often to log.
          part: of the configuration, 'train', 'classifiers' or 'patterns', with `steps` and
            `batch_size`.
          advice: makes the end of the error message about a loss that is not finite.
        """
        super().__init__()
        self.step = start
        self.signal: str | None = None
        self._what, self._advice = what, advice
        self._total, self._settings = config[part].steps, config.train
        self._pending: list[tuple[int, Mapping[str, jax.Array]]] = []
        self.log = self.enter_context(MetricLog(folder, start))
        self._preemption = self.enter_context(Preemption())
        self._progress = self.enter_context(
            Progress(what, self._total, start, config[part].batch_size)
        )

    def __iter__(self) -> Iterator[int]:
        while self.step < self._total:
            self.step += 1
            yield self.step
            if self.stopping:
                return
        # A signal that came while the last step was saved.
        self.signal = self._preemption.requested()

    def is_due(self, every: int) -> bool:
        """Whether something that is done every so many steps, and after the last, is done now."""
        return self.step % every == 0 or self.step == self._total

    @property
    def stopping(self) -> bool:
        """Whether a signal makes this step the last one."""
        return self.signal is not None

    def record(
        self,
        metrics: Mapping[str, jax.Array],
        shown: tuple[str, ...] = (),
        with_rate: bool = False,
    ) -> None:
        """Counts the step; from time to time checks the metrics of all steps since, and logs these.

        Args:
          metrics: of the step, float scalars.
          shown: names of those that the progress bar shows; all by default.
          with_rate: log 'images_per_second' too.

        Raises:
          DivergedError: a metric of this step or of an earlier one is not finite.
        """
        self._pending.append((self.step, metrics))
        self.signal = self._preemption.requested()
        settings, values = self._settings, None
        every = (settings.log_every, settings.eval_every, settings.checkpoint_every)
        if self.stopping or any(map(self.is_due, every)) or len(self._pending) >= _MOST_PENDING:
            values = self._fetch()
        self._progress.advance(values and {name: values[name] for name in shown or values})
        if values and self.is_due(settings.log_every):
            rate = {"images_per_second": self._progress.images_per_second()} if with_rate else {}
            self.log.scalars(self.step, values | rate)

    def pause(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Shows `what` in the bar while the block runs; its time doesn't count in the rate."""
        return self._progress.pause(what)

    def _fetch(self) -> dict[str, float]:
        """Returns the last step's metrics, if those of all pending steps are finite."""
        values: dict[str, float] = {}
        for step, metrics in jax.device_get(self._pending):
            values = {name: float(value) for name, value in metrics.items()}
            # The total is infinite because of a term, and the gradient because of the total.
            order = sorted(values, key=lambda name: (not name.startswith("loss"), "total" in name))
            if bad := [name for name in order if not math.isfinite(values[name])]:
                raise DivergedError(
                    f"{self._what}: {bad[0]} is {values[bad[0]]} at step {step}, so the run stops; "
                    f"{self._advice()}; not finite are: {', '.join(bad)}"
                )
        self._pending.clear()
        return values


class Progress(contextlib.AbstractContextManager):
    """The progress bar, which shows the present activity and the rate.

    The first call of a compiled function takes long: until the first `advance` the bar says so.
    """

    def __init__(self, what: str, total: int, done: int = 0, images_per_step: int = 0):
        """Shows the bar on the main process.

        Args:
          what: what the steps do, such as 'training the generator'.
          total: steps of the whole run.
          done: steps taken before, by the run that this one continues.
          images_per_step: for the rate in images/s; 0 shows none.
        """
        self._what = what
        self._images_per_step = images_per_step
        self._timed_from: float | None = None
        self._timed_steps = 0
        self._bar = ProgressBar(
            total=total,
            initial=done,
            desc=f"{what}: compiling the step (about a minute)…",
            disable=not is_main_process(),
            dynamic_ncols=True,
            bar_format="{desc} |{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]{postfix}",
        )

    def advance(self, values: Mapping[str, float] | None = None) -> None:
        """Counts a step, and shows `values` beside the bar, if any."""
        if self._timed_from is None:  # the first step was compilation
            self._bar.set_description_str(self._what)
            self._timed_from = time.perf_counter()
        else:
            self._timed_steps += 1
        self._bar.update()
        if values is not None:
            shown = " ".join(f"{name.removeprefix('loss/')} {v:.3g}" for name, v in values.items())
            rate = self.images_per_second()
            self._bar.set_postfix_str(shown + (f" {rate:.0f} images/s" if rate else ""))

    @contextlib.contextmanager
    def pause(self, what: str) -> Iterator[None]:
        """Shows `what` while the block runs; its time doesn't count in the rate."""
        self._bar.set_description_str(what)
        self._bar.refresh()
        since = time.perf_counter()
        try:
            yield
        finally:
            if self._timed_from is not None:
                self._timed_from += time.perf_counter() - since
                self._bar.set_description_str(self._what)

    def images_per_second(self) -> float:
        """Rate since the first step, without compilation and pauses; 0 while unknown."""
        if self._timed_from is None or not self._timed_steps or not self._images_per_step:
            return 0.0
        seconds = time.perf_counter() - self._timed_from
        return self._images_per_step * self._timed_steps / max(seconds, 1e-9)

    def close(self) -> None:
        """Leaves the finished bar on the screen."""
        self._bar.close()

    def __exit__(self, *_):
        self.close()


class Preemption(contextlib.AbstractContextManager):
    """While open, SIGTERM and Ctrl-C only set a flag, so that the loop can save and stop.

    A second signal acts as it always does. With several processes the flag is JAX's own: it sees
    SIGTERM on any of them and makes all stop at the same step.
    """

    def __init__(self):
        self._received: str | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self):
        # Python handles signals in its main thread only.
        if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def _receive(self, number, frame):
        del frame
        self._received = signal.Signals(number).name
        self._restore()

    def _restore(self):
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def requested(self) -> str | None:
        """The signal that asked to stop, or None; every process calls this equally often."""
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(
            next(_SYNC_POINTS)
        ):
            return signal.SIGTERM.name
        return self._received

    def __exit__(self, *_):
        self._restore()
