"""A command as a process: exit status, signals, standard streams, the line that started it."""

import _thread
import contextlib
import functools
import os
import pathlib
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

from raeg_jax.errors import UserError
from raeg_jax.files import printable

# EXIT_STOPPED is EX_TEMPFAIL of sysexits.h: a signal stopped the run, the same command resumes it.
EXIT_USER_ERROR, EXIT_STOPPED, EXIT_INTERRUPTED = 2, 75, 130

_RESEND_SECONDS = 0.05


class _Terminated(KeyboardInterrupt):
    """SIGTERM, as schedulers send it; whatever handles Ctrl-C handles it too."""


@contextlib.contextmanager
def command_errors() -> Iterator[None]:
    """Ends the process with one line and a status where the block meets an error of the user.

    So do Ctrl-C and SIGTERM; while steps are taken, `training.loop.Preemption` handles the first of
    these and saves a checkpoint. A command imports its program inside of the block, as Ctrl-C may
    come at any time.

    Raises:
      SystemExit: the line was printed; errors that are not the user's pass.
    """
    open_streams()
    resend_ignored_interrupts()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        try:
            os.getcwd()
        except FileNotFoundError:
            raise UserError("the current folder was deleted: change to another one") from None
        yield
    except UserError as error:
        _exit(f"error: {error}", EXIT_USER_ERROR)
    except KeyboardInterrupt as error:
        message, status = interruption(error)
        _exit(message + ("; the same command resumes" if status == EXIT_STOPPED else ""), status)


def interruption(error: KeyboardInterrupt) -> tuple[str, int]:
    """Returns the beginning of a sentence on Ctrl-C or SIGTERM, and the exit status."""
    if isinstance(error, _Terminated):
        return "stopped by SIGTERM", EXIT_STOPPED
    return "interrupted", EXIT_INTERRUPTED


def _terminate(number: int, frame: object) -> NoReturn:
    raise _Terminated


def _exit(message: str, status: int) -> NoReturn:
    print(printable(message), file=sys.stderr)
    sys.exit(status)


def open_streams() -> None:
    """Connects standard streams that were closed at the start to the null device.

    Python has None for them, and the next file that is opened would get their number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))


@functools.cache
def resend_ignored_interrupts() -> None:
    """Sends Ctrl-C and SIGTERM again where Python ignores the exception that they raise.

    Python does so in callbacks of its garbage collector, of which JAX has one, and in `__del__`;
    the run would continue to its end.
    """
    previous_hook = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            return previous_hook(unraisable)
        terminated = issubclass(unraisable.exc_type, _Terminated)
        number = signal.SIGTERM if terminated else signal.SIGINT
        # At once, it would be ignored again.
        threading.Timer(_RESEND_SECONDS, _signal_main_thread, [number]).start()

    sys.unraisablehook = hook


def _signal_main_thread(number: signal.Signals) -> None:
    thread = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and thread is not None:
        # Wakes the thread where it waits, too.
        signal.pthread_kill(thread, number)
    else:
        _thread.interrupt_main(number)


def shell_command() -> str:
    """The shell command that started this process."""
    program, *arguments = sys.argv
    # `python -m raeg_jax` is the same program as `raeg`.
    is_raeg = pathlib.Path(program).stem in ("raeg", "__main__")
    return shlex.join([*(["raeg"] if is_raeg else ["python", program]), *arguments])
