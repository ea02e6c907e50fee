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
from raeg_jax.generator.build import has_patterns
from raeg_jax.workdir.processes import AXIS, device_mesh

StepFn = Callable[[Any, Any, Any], tuple[Any, Any]]
Place = Callable[[Any], jax.Array]


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
    trained = ["classifiers"]
    if "learned" in config.generator.stages:
        trained.append("train")
    if has_patterns(config.generator):
        trained.append("patterns")
    for name in trained:
        batch_size = config[name].batch_size
        check_divisible(batch_size, jax.device_count(), f"config.{name}.batch_size: a batch")


def _pmap(step_fn: StepFn, devices: Sequence[jax.Device]) -> tuple[Any, Place]:
    mapped = jax.pmap(
        step_fn,
        axis_name=AXIS,
        in_axes=(None, None, 0),
        out_axes=None,
        devices=devices,
        donate_argnums=(0,),
    )
    local = _local(devices)
    # [local batch, ...] -> [local devices, batch of a device, ...]
    return mapped, lambda x: x.reshape(local, x.shape[0] // local, *x.shape[1:])


def _shard_map(step_fn: StepFn, devices: Sequence[jax.Device]) -> tuple[Any, Place]:
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
    return mapped, lambda x: jax.make_array_from_process_local_data(sharding, x)


# Name -> the mapped step, which can be compiled, and what places an array of the batch for it.
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
      part: of the configuration, 'train', 'classifiers' or 'patterns': its `batch_size` is that of
        all hosts.
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


class ParallelStep:
    """A step that is mapped over devices, and compiled at its first call for all that follow.

    Attributes:
      memory: bytes that the program takes on each device, its arguments included; None before the
        first call, with several processes, and where the compiler doesn't tell.
    """

    def __init__(self, step_fn: StepFn, mode: str, devices: Sequence[jax.Device] | None = None):
        """Maps `step_fn` over devices.

        Args:
          step_fn: (state, frozen, batch) -> (state, metrics) on one device's share of the batch;
            both results must be the same on all devices (averaged over AXIS where they depend on
            the batch).
          mode: key of MODES.
          devices: all devices of all hosts by default.
        """
        devices = list(devices or jax.devices())
        self.memory: int | None = None
        self._local = _local(devices)
        self._mapped, self._place = MODES[mode](step_fn, devices)
        self._program: StepFn | None = None

    def __call__(self, state: Any, frozen: Any, batch: Any) -> tuple[Any, Any]:
        """Takes a step.

        Args:
          state: a tree from `replicate`; its buffers are donated, so the caller must continue with
            the new state.
          frozen: a tree from `replicate`.
          batch: a tree of NumPy arrays [B, ...], this host's part of the global batch; all batches
            have one size.

        Returns:
          The new state, and the metrics.

        Raises:
          UserError: a batch that its devices can't share evenly.
        """
        check_divisible(len(jax.tree.leaves(batch)[0]), self._local)
        batch = jax.tree.map(self._place, batch)
        if self._program is None:
            self._program = self._compile(state, frozen, batch)
        return self._program(state, frozen, batch)

    def _compile(self, *arguments: Any) -> StepFn:
        if jax.process_count() > 1:
            # JAX compares arguments of this process with the shapes of all processes' there.
            return self._mapped
        program = self._mapped.lower(*arguments).compile()
        if (stats := program.memory_analysis()) is not None:
            self.memory = (
                stats.argument_size_in_bytes
                + stats.output_size_in_bytes
                + stats.temp_size_in_bytes
                - stats.alias_size_in_bytes
            )
        return program
