"""Being asked to stop: by a scheduler that needs the machine (SIGTERM), or with Ctrl-C."""

import contextlib
import itertools
import signal
import threading

import jax
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# JAX stops all processes at the same number, one above the largest that any has reached when the
# signal comes: numbers that begin at the step resumed at, or again with each loop, would miss it.
_LOOKS = itertools.count(1)


class Preemption(contextlib.AbstractContextManager):
    """While open, SIGTERM and Ctrl-C only set a flag, so that the loop can save and leave.

    A second signal acts as it always does. With several processes the flag is JAX's own: it sees
    SIGTERM on any of them and makes all stop at the same step.
    """

    def __init__(self):
        self._received: str | None = None
        self._previous = {}

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
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(next(_LOOKS)):
            return signal.SIGTERM.name
        return self._received

    def __exit__(self, *_):
        self._restore()
