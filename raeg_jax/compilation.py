"""JAX's compiled programs: a cache of them on disk, and progress bars that tell of compiling."""

import contextlib
import ctypes
import os
import pathlib
import sys
import threading
import time
import warnings

import tqdm

from raeg_jax.errors import UserError
from raeg_jax.files import cache_folder

CACHE_VARIABLE = "RAEG_COMPILE_CACHE"
OFF = "off"

_MAX_CACHE_BYTES = 2**30
# JAX caches programs whose compilation took longer; its default, 1, misses the many small ones.
_MIN_SECONDS = "0.2"
# Compilation that takes less is not worth a message.
_MIN_SHOWN_SECONDS = 0.5

# Thread -> time at which its present compilation started.
_started: dict[int, float] = {}
_listening = False
_REFRESH_SECONDS = 1.0


def enable_cache(data_folder: str = "", choice: str = "") -> None:
    """Lets JAX, which must not be imported yet, cache compiled programs in files.

    JAX finds a program by all that it depends on (code, shapes, options, versions, the processor's
    features), and checks that a file is whole. What can't be read or written is compiled anew.

    Args:
      data_folder: `config.data.cache_dir`; the programs are in a sub-folder of the folder of
        prepared data, see `files.cache_folder`.
      choice: another folder, or `OFF`; by default $RAEG_COMPILE_CACHE, or what JAX's own variables
        say.

    Raises:
      UserError: the choice is a URL, or in a home folder that is unknown.
    """
    # XLA's errors become exceptions; what it logs beside them are alarms about slow compilation and
    # differences between processors, which users can do nothing about.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    choice = choice or os.environ.get(CACHE_VARIABLE, "")
    if choice == OFF:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"
    if choice == OFF or (not choice and "JAX_COMPILATION_CACHE_DIR" in os.environ):
        return
    try:
        folder = cache_folder(choice or data_folder) / ("" if choice else "compiled")
    except UserError:
        if choice:
            raise
        return  # Preparing the data raises the error.
    folder /= _folder_name()
    if _make_private(folder):
        _prune(folder)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", _MIN_SECONDS)
        # XLA's own cache of GPU programs would end a run where it can't be written.
        os.environ.setdefault("JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES", "none")


def _folder_name() -> str:
    """The user, as other users' files may hold any code, and the number of processors.

    Programs depend on the number, but JAX doesn't look at it.
    """
    try:
        processors = len(os.sched_getaffinity(0))
    except AttributeError:
        processors = os.cpu_count() or 1
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return f"{user}-{processors}cpu"


def _make_private(folder: pathlib.Path) -> bool:
    """Makes a folder; returns whether it is there and only this user can write to it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return False
    return os.name != "posix" or (status.st_uid == os.getuid() and not status.st_mode & 0o022)


def _prune(folder: pathlib.Path) -> None:
    """Deletes the least recently used programs beyond `_MAX_CACHE_BYTES`."""
    # Another process may be deleting, too.
    with contextlib.suppress(OSError):
        stats = [(e.stat(), e.path) for e in os.scandir(folder) if e.is_file()]
        programs = [(max(s.st_atime, s.st_mtime), s.st_size, path) for s, path in stats]
        total = 0
        for _, size, path in sorted(programs, reverse=True):
            total += size
            if total > _MAX_CACHE_BYTES:
                os.unlink(path)


def release_memory() -> None:
    """Gives memory that isn't used any more back to the system, where its C library is glibc.

    Compiling a large network leaves some 700 MB behind.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def is_compiling() -> bool:
    """Whether JAX has been compiling for a while; it starts to listen at the first call."""
    global _listening
    if not _listening and (monitoring := sys.modules.get("jax.monitoring")):
        _listening = True
        monitoring.register_event_duration_secs_listener(_record)
    now = time.monotonic()
    return any(now - started > _MIN_SHOWN_SECONDS for started in list(_started.values()))


def _record(event: str, *_, **__) -> None:
    """Records the end of a stage of compilation in this thread; the last stage is the slow one."""
    if event == "/jax/core/compile/jaxpr_to_mlir_module_duration":
        _started[threading.get_ident()] = time.monotonic()
    elif event.startswith("/jax/core/compile/"):
        # The slow stage has ended, or, after one that failed, a new compilation was traced.
        _started.pop(threading.get_ident(), None)


def duration(seconds: float) -> str:
    """Such as '2 h 05 min', '12 min' or '40 s'."""
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


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
        if is_compiling() and "compiling" not in description:
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
