"""The processes and devices of a run, of which one process writes, and other runs beside it.

A run may have a process on each of several hosts. Its state is whole on every device, and the
devices share each batch along one axis.
"""

import contextlib
import os
import pathlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from raeg_jax.errors import UserError
from raeg_jax.files import check_free_space, printable
from raeg_jax.lock import locked
from raeg_jax.process import EXIT_STOPPED, EXIT_USER_ERROR, interruption

LOCK_FILE = "lock"
# Where launchers say how many processes there are; not SLURM_NTASKS, which a batch script has too.
_COUNTS = ("JAX_NUM_PROCESSES", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
# The one axis along which devices share a batch.
AXIS = "batch"

T = TypeVar("T")


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


@contextlib.contextmanager
def several_hosts() -> Iterator[None]:
    """Joins the other processes, and leaves at once where the block fails: they can't go on alone.

    Else the process would wait a minute for the others, or they for it, and end with a crash of
    JAX's. A process whose host is lost meets an error in its next step; where the network says
    nothing, JAX ends it within two minutes.

    Raises:
      UserError: JAX doesn't find the others.
    """
    start_multi_host()
    try:
        yield
    except BaseException as error:
        # All leave in order after a signal, at which they stop at the same step.
        if jax.process_count() == 1 or isinstance(error, SystemExit):
            raise
        message, status = _farewell(error)
        print(printable(message), file=sys.stderr, flush=True)
        sys.stdout.flush()
        # Not `sys.exit`: JAX would wait for all processes first.
        os._exit(status)


def _farewell(error: BaseException) -> tuple[str, int]:
    """The line for an error that ends one process of several, and the exit status."""
    if isinstance(error, UserError):
        return f"error: {error}", EXIT_USER_ERROR
    if isinstance(error, KeyboardInterrupt):
        return interruption(error)
    if isinstance(error, jax.errors.JaxRuntimeError):
        reason = str(error).split("\n", 1)[0]
        return (
            f"error: this process lost another one of the run ({reason}). What was saved is whole: "
            "end all processes, and start the same command again, with as many as there are",
            EXIT_STOPPED,
        )
    return "".join(traceback.format_exception(error)), 1


def check_one_process(what: str) -> None:
    """Stops where a launcher has started several processes, which would all do the same work.

    Args:
      what: the work, in the message.

    Raises:
      UserError: naming the launcher's variable.
    """
    for name in _COUNTS:
        count = os.environ.get(name, "")
        if count.isdecimal() and int(count) > 1:
            raise UserError(
                f"{what} is the work of one process, and {name} says that {count} were started: "
                "start it on one host, without the launcher"
            )


def from_main(tree: T) -> T:
    """What the main process has, on every process; arrays of the same shapes everywhere."""
    return multihost_utils.broadcast_one_to_all(tree) if jax.process_count() > 1 else tree


def is_main_process() -> bool:
    """Whether this process is the one that prints and writes logs."""
    return jax.process_index() == 0


def say(message: str) -> None:
    """Prints a line to stderr, once for all processes."""
    if is_main_process():
        print(message, file=sys.stderr)


def wait_for_all(what: str) -> None:
    """Waits until every process has come here; `what` they wait for tells such places apart."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


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


def device_mesh(devices: Sequence[jax.Device]) -> Mesh:
    """The devices in a row, along AXIS."""
    # Auto axes: with explicit ones a reshape of a sharded array may fail to trace.
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def replicated_sharding(devices: Sequence[jax.Device] | None = None) -> NamedSharding:
    """The sharding of an array that is whole on each of the devices (all of them by default)."""
    return NamedSharding(device_mesh(devices or jax.devices()), PartitionSpec())


def replicate(tree: T, devices: Sequence[jax.Device] | None = None) -> T:
    """Puts a copy of every array on each of the devices (all of them by default).

    The arrays of `tree` stay usable even after the result was donated to a step.
    """
    # device_put alone may share buffers with its input, which donation would then delete.
    return jax.device_put(jax.tree.map(jnp.copy, tree), replicated_sharding(devices))
