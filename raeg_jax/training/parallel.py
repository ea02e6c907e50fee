"""Maps a step over devices: one data axis, named 'batch', and two ways to map it.

The step is written for one device and averages over devices with `lax.pmean(x, AXIS)`. State and
frozen parameters are on every device (`workdir.state.replicate`), the batch is split on its leading
axis. `pmap` and `shard_map` give equal results, on one device too.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from raeg_jax import data
from raeg_jax.errors import UserError
from raeg_jax.workdir.processes import AXIS, device_mesh

StepFn = Callable[[Any, Any, Any], tuple[Any, Any]]


def check_divisible(
    batch_size: int, count: int, name: str = "the batch", of: str = "devices"
) -> None:
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


def _pmap(step_fn: StepFn, devices: Sequence[jax.Device]) -> StepFn:
    mapped = jax.pmap(
        step_fn,
        axis_name=AXIS,
        in_axes=(None, None, 0),
        out_axes=None,
        devices=devices,
        donate_argnums=(0,),
    )
    local = _local(devices)

    def split(x):  # [local batch, ...] -> [local devices, batch of a device, ...]
        return x.reshape(local, x.shape[0] // local, *x.shape[1:])

    return lambda state, frozen, batch: mapped(state, frozen, jax.tree.map(split, batch))


def _shard_map(step_fn: StepFn, devices: Sequence[jax.Device]) -> StepFn:
    mesh = device_mesh(devices)
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


def _local(devices: Sequence[jax.Device]) -> int:
    """The number of the devices that are this process's."""
    return sum(device.process_index == jax.process_index() for device in devices)


def host_batches(
    config: ConfigDict, split: Sequence[data.Record], part: str, seed: int, crop: bool
) -> data.TrainIterator:
    """The stream of this host's share of the training batches.

    Args:
      config: the whole configuration.
      split: training records.
      part: of the configuration, 'train' or 'classifiers': its `batch_size` is that of all hosts.
      seed: of the order and of the augmentation.
      crop: whether all of `config.augment` applies; else images are at most flipped.

    Raises:
      UserError: the split has fewer images than a batch.
    """
    return data.train_iterator(
        split,
        config.data,
        batch_size=config[part].batch_size // jax.process_count(),
        seed=seed,
        augment=config.augment,
        shard_index=jax.process_index(),
        shard_count=jax.process_count(),
        crop=crop,
        setting=f"config.{part}.batch_size",
    )


def parallelise(step_fn: StepFn, mode: str, devices: Sequence[jax.Device] | None = None) -> StepFn:
    """Maps `step_fn` over devices.

    Args:
      step_fn: (state, frozen, batch) -> (state, metrics) on one device's share of the batch; both
        results must be the same on all devices (averaged over AXIS where they depend on the batch).
      mode: key of MODES.
      devices: all devices of all hosts by default.

    Returns:
      fn(state, frozen, batch) -> (state, metrics). `state` and `frozen` are trees from
      `replicate`; the buffers of `state` are donated, so the caller must continue with the new
      state. `batch` is a tree of NumPy arrays [B, ...], this host's part of the global batch.

    Raises:
      UserError: when called, a batch that its devices can't share evenly.
    """
    devices = list(devices or jax.devices())
    local, mapped = _local(devices), MODES[mode](step_fn, devices)

    def call(state, frozen, batch):
        check_divisible(len(jax.tree.leaves(batch)[0]), local)
        return mapped(state, frozen, batch)

    return call
