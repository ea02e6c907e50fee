"""What training carries from step to step, and arrays of which every device has a copy."""

from collections.abc import Sequence
from typing import Any, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

# The one axis along which devices share a batch.
AXIS = "batch"

T = TypeVar("T")


class TrainState(flax.struct.PyTreeNode):
    """Everything a training step reads and writes.

    Attributes:
      step: int32 scalar, the number of steps taken.
      params: parameters of the generator.
      ema: their exponential moving average, used for evaluation and protection.
      opt_state: state of the generator's optimiser.
      disc: variables of the discriminator (`params` and `batch_stats`); {} without the GAN term.
      disc_opt_state: state of the discriminator's optimiser; () without the GAN term.
    """

    step: jax.Array
    params: Any
    ema: Any
    opt_state: Any
    disc: Any
    disc_opt_state: Any


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
