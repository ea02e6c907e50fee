"""The processes around a workdir: the hosts of one run, of which one writes, and other runs."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator

import jax

from raeg_jax.errors import UserError
from raeg_jax.files import check_free_space
from raeg_jax.lock import locked

LOCK_FILE = "lock"


def start_multi_host() -> None:
    """Joins the other processes of a multi-host run; call it before anything else touches JAX.

    JAX finds them by itself on TPU pods, under Slurm and Open MPI. Elsewhere each process reads
    JAX_COORDINATOR_ADDRESS (host:port of the first), JAX_NUM_PROCESSES and JAX_PROCESS_ID.

    Raises:
      UserError: JAX doesn't find them.
    """
    try:
        count, index = (
            int(os.environ[name]) if name in os.environ else None
            for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
        )
        jax.distributed.initialize(num_processes=count, process_id=index)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"config.multi_host=True, but jax.distributed.initialize() failed: {error} "
            "Start one process a host under Slurm or Open MPI, on TPU pods, or with "
            "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID set; or leave "
            "config.multi_host off."
        ) from error


def is_main_process() -> bool:
    """Whether this process is the one that prints and writes logs."""
    return jax.process_index() == 0


def say(message: str) -> None:
    """Prints a line to stderr, once for all processes."""
    if is_main_process():
        print(message, file=sys.stderr)


@contextlib.contextmanager
def claimed(workdir: pathlib.Path) -> Iterator[None]:
    """Makes the folder of a run and keeps other runs out of it while the block runs.

    With several processes the main one does so for all.

    Args:
      workdir: made if missing, with the folders above it.

    Raises:
      UserError: another run is using it, or it can't be made or written.
    """
    with contextlib.ExitStack() as stack:
        if is_main_process():
            try:
                workdir.mkdir(parents=True, exist_ok=True)
                check_free_space(workdir)
                stack.enter_context(locked(workdir / LOCK_FILE, wait=False))
            except BlockingIOError as error:
                raise UserError(
                    f"another run is using {workdir}: wait until it has ended, or use another "
                    "--workdir"
                ) from error
            except OSError as error:
                raise UserError(
                    f"--workdir={workdir} can't be written ({error}); name another folder"
                ) from error
        yield
