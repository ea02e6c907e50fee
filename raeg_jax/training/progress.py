"""The progress bar of a training loop."""

import contextlib
import time
from collections.abc import Iterator, Mapping

from raeg_jax.bar import ProgressBar
from raeg_jax.training.parallel import is_main_process


class Progress:
    """The progress bar, which says what is happening, and how fast.

    The first call of a compiled function takes long, so the bar starts by saying so and begins
    to count steps with the first `advance`.
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
        """Counts one step, and shows `values` beside the bar if they are given."""
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
        """Says `what` happens between two steps; its time doesn't count in the rate."""
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
        """Rate since the first step, without compilation and pauses; 0 where not known."""
        if not self._timed_steps or not self._images_per_step:
            return 0.0
        seconds = time.perf_counter() - self._timed_from
        return self._images_per_step * self._timed_steps / max(seconds, 1e-9)

    def close(self) -> None:
        """Leaves the finished bar on the screen."""
        self._bar.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
