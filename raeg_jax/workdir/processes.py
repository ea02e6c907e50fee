"""The processes and devices of a run, of which one process writes, and other runs beside it.

A run may have a process on each of several hosts. Its state is whole on every device, and the
devices share each batch along one axis.
"""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from raeg_jax.errors import UserError
from raeg_jax.files import check_free_space
from raeg_jax.lock import locked

LOCK_FILE = "lock"
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
