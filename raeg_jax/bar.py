"""Progress bars whose clock ticks, and which say when JAX is compiling."""

import threading

import tqdm

from raeg_jax import compilation

_SECONDS = 1.0


class Bar(tqdm.tqdm):
    """As `tqdm.tqdm`; on a terminal it is drawn anew every second, whatever else happens."""

    def __init__(self, *args, **kwargs):
        self._ended = threading.Event()
        super().__init__(*args, **kwargs)
        # A log would grow by a line each time.
        if not self.disable and self.fp.isatty():
            threading.Thread(target=self._tick, name="raeg-bar", daemon=True).start()

    @property
    def format_dict(self):
        """What is shown, see `tqdm.tqdm.format_dict`."""
        shown = super().format_dict
        what = (shown["prefix"] or "").removesuffix(": ")
        if compilation.compiling() and "compiling" not in what:
            shown["prefix"] = f"{what}: compiling" if what else "compiling"
        return shown

    def close(self):
        """Ends the bar."""
        with self.get_lock():
            self._ended.set()
        super().close()

    def _tick(self):
        while not self._ended.wait(_SECONDS):
            with self.get_lock():
                if not self._ended.is_set():
                    self.refresh(nolock=True)
