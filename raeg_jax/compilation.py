"""What JAX compiles: kept on disk for the next process, and told of while it takes time."""

import contextlib
import os
import pathlib
import sys
import threading
import time
import warnings

from raeg_jax import files
from raeg_jax.errors import UserError

VARIABLE = "RAEG_COMPILE_CACHE"
OFF = "off"

# Bytes of compiled programs that a start leaves, the last used ones.
_LARGEST = 2**30
# JAX keeps programs that took so many seconds; 1 by default, but steps have many smaller parts.
_LEAST_SECONDS = "0.2"
# What is compiled faster is not worth telling, in seconds.
_WORTH_TELLING = 0.5

_since: dict[int, float] = {}
_watching = False


def keep_programs(data_folder: str = "", choice: str = "") -> None:
    """Lets JAX, which must not be imported yet, keep compiled programs in files.

    JAX finds a program by all that it depends on (code, shapes, options, versions, the processor's
    features), and checks that a file is whole. What can't be read or written is compiled anew.

    Args:
      data_folder: `config.data.cache_dir`; programs are kept in a part of the folder of prepared
        data, see `files.cache_folder`.
      choice: another folder, or `OFF`; by default $RAEG_COMPILE_CACHE, or what JAX's own variables
        say.

    Raises:
      UserError: the choice is a URL, or in a home folder that is unknown.
    """
    # XLA's errors become exceptions; what it logs beside them are alarms about slow compilation and
    # differences between processors, which users can do nothing about.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    choice = choice or os.environ.get(VARIABLE, "")
    if choice == OFF:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"
    if choice == OFF or (not choice and "JAX_COMPILATION_CACHE_DIR" in os.environ):
        return
    try:
        folder = files.cache_folder(choice or data_folder) / ("" if choice else "compiled")
    except UserError:
        if choice:
            raise
        return  # Whoever prepares data tells it.
    folder /= _own_name()
    if _make_private(folder):
        _prune(folder)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", _LEAST_SECONDS)
        # XLA's own cache of GPU programs would end a run where it can't be written.
        os.environ.setdefault("JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES", "none")


def _own_name() -> str:
    """What programs depend on and JAX doesn't look at: how many processors share the work.

    And the user: files of others may hold any code.
    """
    try:
        processors = len(os.sched_getaffinity(0))
    except AttributeError:
        processors = os.cpu_count() or 1
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return f"{user}-{processors}cpu"


def _make_private(folder: pathlib.Path) -> bool:
    """Makes a folder; returns whether it is there and nobody else can write to it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return False
    return os.name != "posix" or (status.st_uid == os.getuid() and not status.st_mode & 0o022)


def _prune(folder: pathlib.Path) -> None:
    """Deletes the programs that were not used for the longest time, until the others have room."""
    # Another process may be deleting, too.
    with contextlib.suppress(OSError):
        used = [(max(s.st_atime, s.st_mtime), s.st_size, e.path) for e, s in _stats(folder)]
        total = 0
        for _, size, path in sorted(used, reverse=True):
            total += size
            if total > _LARGEST:
                os.unlink(path)


def _stats(folder: pathlib.Path):
    return [(entry, entry.stat()) for entry in os.scandir(folder) if entry.is_file()]


def compiling() -> bool:
    """Whether JAX is compiling something that takes time, as far as it was imported before."""
    global _watching
    if not _watching and (monitoring := sys.modules.get("jax.monitoring")):
        _watching = True
        monitoring.register_event_duration_secs_listener(_note)
    return any(time.monotonic() - since > _WORTH_TELLING for since in list(_since.values()))


def _note(event: str, *_, **__) -> None:
    """Takes note of the end of a stage of compilation in this thread."""
    if event == "/jax/core/compile/jaxpr_to_mlir_module_duration":
        _since[threading.get_ident()] = time.monotonic()
    elif event == "/jax/core/compile/backend_compile_duration":
        _since.pop(threading.get_ident(), None)
