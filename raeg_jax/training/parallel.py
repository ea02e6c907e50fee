"""Maps a step over devices: one data axis, named 'batch', and two ways to map it.

The step is written for one device and averages over devices with `lax.pmean(x, AXIS)`. State and
frozen parameters are on every device, the batch is split on its leading axis. `pmap` and
`shard_map` give equal results, on one device too; see tests/training/test_parallel.py.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from raeg_jax.errors import UserError

AXIS = "batch"

StepFn = Callable[[Any, Any, Any], tuple[Any, Any]]


def start_multi_host() -> None:
    """Joins the other processes of a multi-host run; before anything else touches JAX.

    JAX finds them by itself on TPU pods, under Slurm and Open MPI. Elsewhere each process is told
    by JAX_COORDINATOR_ADDRESS (host:port of the first), JAX_NUM_PROCESSES and JAX_PROCESS_ID.

    Raises:
      UserError: JAX doesn't find them.
    """
    try:
        told = {
            name: int(os.environ[variable])
            for name, variable in (
                ("num_processes", "JAX_NUM_PROCESSES"),
                ("process_id", "JAX_PROCESS_ID"),
            )
            if variable in os.environ
        }
        jax.distributed.initialize(**told)
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


def check_divisible(batch_size: int, count: int, name: str = "the batch", of: str = "devices"):
    """Raises UserError if `batch_size` images can't be split evenly over `count` devices."""
    if batch_size % count:
        down, up = batch_size // count * count, -(-batch_size // count) * count
        choices = " or ".join(str(size) for size in (down, up) if size)
        raise UserError(
            f"{name} of {batch_size} images can't be split evenly over {count} {of}: use {choices}"
        )


def check_devices(config: ConfigDict) -> None:
    """Stops if the batches of training can't be split evenly over all devices.

    Raises:
      UserError: naming the setting, its value and possible ones.
    """
    trained = ("classifiers", "train") if "learned" in config.generator.stages else ("classifiers",)
    for name in trained:
        batch_size = config[name].batch_size
        check_divisible(batch_size, jax.device_count(), f"config.{name}.batch_size: a batch")


def _mesh(devices: Sequence[jax.Device]) -> Mesh:
    # Auto axes: with explicit ones a reshape of a sharded array may fail to trace.
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def replicated_sharding(devices: Sequence[jax.Device] | None = None) -> NamedSharding:
    """The sharding of an array that is whole on each of the devices (all of them by default)."""
    return NamedSharding(_mesh(devices or jax.devices()), PartitionSpec())


def replicate(tree: Any, devices: Sequence[jax.Device] | None = None) -> Any:
    """Puts a copy of every array on each of the devices (all of them by default).

    The arrays of `tree` stay usable even after the result was donated to a step.
    """
    # device_put alone may share buffers with its input, which donation would then delete.
    return jax.device_put(jax.tree.map(jnp.copy, tree), replicated_sharding(devices))


def _pmap(step_fn: StepFn, devices: Sequence[jax.Device]) -> StepFn:
    mapped = jax.pmap(
        step_fn,
        axis_name=AXIS,
        in_axes=(None, None, 0),
        out_axes=None,
        devices=devices,
        donate_argnums=(0,),
    )
    local = sum(device.process_index == jax.process_index() for device in devices)

    def split(x):  # [local batch, ...] -> [local devices, batch of a device, ...]
        return x.reshape(local, x.shape[0] // local, *x.shape[1:])

    return lambda state, frozen, batch: mapped(state, frozen, jax.tree.map(split, batch))


def _shard_map(step_fn: StepFn, devices: Sequence[jax.Device]) -> StepFn:
    mesh = _mesh(devices)
    everywhere, split = PartitionSpec(), PartitionSpec(AXIS)
    mapped = jax.jit(
        # Without the check of varying axes a gradient is the device's own, as under pmap; with it
        # JAX would sum gradients of replicated parameters itself, and pmean would be of the sum.
        jax.shard_map(
            step_fn,
            mesh=mesh,
            in_specs=(everywhere, everywhere, split),
            out_specs=(everywhere, everywhere),
            check_vma=False,
        ),
        donate_argnums=(0,),
    )
    sharding = NamedSharding(mesh, split)

    def call(state, frozen, batch):
        batch = jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)
        return mapped(state, frozen, batch)

    return call


MODES = {"pmap": _pmap, "shard_map": _shard_map}


def parallelise(step_fn: StepFn, mode: str, devices: Sequence[jax.Device] | None = None) -> StepFn:
    """Maps `step_fn` over devices.

    Args:
      step_fn: (state, frozen, batch) -> (state, metrics) on one device's share of the batch; both
        results must be the same on all devices (averaged over AXIS where they depend on the batch).
      mode: key of MODES.
      devices: all devices of all hosts by default.

    Returns:
      fn(state, frozen, batch) -> (state, metrics). `state` and `frozen` are trees from
      `replicate`; the buffers of `state` are donated, so the caller must go on with the new one.
      `batch` is a tree of NumPy arrays [B, ...], this host's part of the global batch.

    Raises:
      UserError: unknown mode; or, when called, a batch that its devices can't share evenly.
    """
    if mode not in MODES:
        raise UserError(f"config.parallel={mode!r} is unknown; choose one of {', '.join(MODES)}")
    devices = list(devices or jax.devices())
    local = sum(device.process_index == jax.process_index() for device in devices)
    mapped = MODES[mode](step_fn, devices)

    def call(state, frozen, batch):
        check_divisible(len(jax.tree.leaves(batch)[0]), local)
        return mapped(state, frozen, batch)

    return call
