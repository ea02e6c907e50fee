"""Progress bars whose clock ticks, and which say when JAX is compiling."""

import threading

import tqdm

from raeg_jax import compilation

_REFRESH_SECONDS = 1.0


class ProgressBar(tqdm.tqdm):
    """As `tqdm.tqdm`, but a terminal shows it anew every second, also without progress."""

    def __init__(self, *args, **kwargs):
        self._closed = threading.Event()
        super().__init__(*args, **kwargs)
        # A log file would grow by a line each time.
        if not self.disable and self.fp.isatty():
            threading.Thread(target=self._tick, name="raeg-bar", daemon=True).start()

    @property
    def format_dict(self):
        """See `tqdm.tqdm.format_dict`."""
        values = super().format_dict
        description = (values["prefix"] or "").removesuffix(": ")
        if compilation.is_compiling() and "compiling" not in description:
            values["prefix"] = f"{description}: compiling" if description else "compiling"
        return values

    def close(self):
        """Ends the bar."""
        with self.get_lock():
            self._closed.set()
        super().close()

    def _tick(self):
        while not self._closed.wait(_REFRESH_SECONDS):
            with self.get_lock():
                if not self._closed.is_set():
                    self.refresh(nolock=True)
