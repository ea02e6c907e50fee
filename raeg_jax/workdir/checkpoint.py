"""Checkpoints: all that is needed to resume a run, or to use its generator.

A checkpoint, `workdir/checkpoints/<step>/`, holds the items

    state      step, params, optimiser states, discriminator
    ema        the moving average of the generator's parameters, which evaluation reads alone
    iterator   position in the training data
    meta       configuration and versions
    metrics    scalars of the evaluation at that step, if there was one

See `checkpoint_folder` for what a kill or a full disk leaves.
"""

import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import flax.serialization
import flax.struct
import flax.traverse_util
import jax
import orbax.checkpoint as ocp
from ml_collections import ConfigDict
from orbax.checkpoint import checkpoint_managers

from raeg_jax.config import run_config
from raeg_jax.errors import UserError
from raeg_jax.workdir.checkpoint_folder import CheckpointFolder
from raeg_jax.workdir.processes import replicated_sharding

FOLDER = "checkpoints"

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
      surrogates: states of the networks that are poisoned, `training.surrogates`; () without the
        poison term.
    """

    step: jax.Array
    params: Any
    ema: Any
    opt_state: Any
    disc: Any
    disc_opt_state: Any
    surrogates: Any = ()


class Checkpoints(CheckpointFolder):
    """The checkpoints of one workdir: the last `keep_last`, and the one of the best `best_metric`.

    Attributes:
      workdir: folder of the run.
    """

    def __init__(self, workdir: str | os.PathLike, settings: ConfigDict, writable: bool = True):
        """Opens the folder.

        Args:
          workdir: folder of the run.
          settings: `config.train`: `keep_last`, `best_metric`, `best_mode` ('min' or 'max').
          writable: make the folder if it is missing, and remove checkpoints that a killed run left
            unfinished; if false, nothing is written.
        """
        self.workdir = pathlib.Path(workdir).absolute()
        worst = math.inf if settings.best_mode == "min" else -math.inf

        def measure(metrics: Mapping[str, float]) -> float:
            return metrics.get(settings.best_metric, worst)

        policy = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(settings.keep_last),
                checkpoint_managers.BestN(
                    get_metric_fn=measure,
                    reverse=settings.best_mode == "min",
                    n=1,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        super().__init__(
            self.workdir / FOLDER,
            {
                "state": ocp.StandardCheckpointHandler(),
                "ema": ocp.StandardCheckpointHandler(),
                "iterator": ocp.JsonCheckpointHandler(),
                "meta": ocp.JsonCheckpointHandler(),
            },
            policy,
            writable,
            best_fn=measure,
            best_mode=settings.best_mode,
        )

    def resolve(self, which: str | int) -> int:
        """The step of 'latest', of 'best' or of a number.

        'best' is the latest where no checkpoint has the metric, or where several are equally good.

        Raises:
          UserError: there is no such checkpoint.
        """
        steps = self.steps()
        if not steps:
            raise UserError(
                f"no checkpoint in {self.folder}: train first, or choose the --workdir of a run"
            )
        if which == "latest":
            return steps[-1]
        if which == "best":
            return self._manager.best_step() or steps[-1]
        if str(which).isdecimal() and int(which) in steps:
            return int(which)
        raise UserError(
            f"no checkpoint {which!r} in {self.folder}; there are 'best', 'latest' and "
            f"{', '.join(map(str, steps))}"
        )

    def save(
        self,
        state: TrainState,
        iterator: Mapping[str, Any],
        config: ConfigDict,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Saves the state under its own step; does nothing if that step is there already.

        Args:
          state: of the run, as `replicate` or a step returns it.
          iterator: position in the training data, as JSON holds it.
          config: the whole configuration.
          metrics: scalars, `best_metric` among them, for a checkpoint that may be the best.
        """
        step = int(state.step)
        if step in self.steps():
            return
        # From the host: Orbax would cut each array into one file a device that holds a copy.
        tree = _tree_of(jax.device_get(state))
        ema = tree.pop("ema")
        meta = {"config": run_config.to_json(config), "versions": run_config.versions()}
        self.save_items(
            step,
            {
                "state": ocp.args.StandardSave(tree),
                "ema": ocp.args.StandardSave(ema),
                "iterator": ocp.args.JsonSave(dict(iterator)),
                "meta": ocp.args.JsonSave(meta),
            },
            # Orbax warns of a checkpoint without metrics: an empty one is as bad as can be.
            metrics=dict(metrics or {}),
        )

    def read(self, which: str | int, read: Callable[[int], T]) -> T:
        """Calls `read` with the step of 'latest', 'best' or a number.

        Where the latest checkpoint is damaged, `read` is called with the step of the one before it.

        Raises:
          UserError: no such checkpoint, or it is damaged.
        """
        step = self.resolve(which)
        return self.read_newest(read) if which == "latest" else read(step)

    def meta(self, which: str | int = "latest") -> dict[str, Any]:
        """Configuration and versions that a checkpoint was saved with."""
        return self.read(
            which, lambda step: self.read_items(step, meta=ocp.args.JsonRestore())["meta"]
        )

    def restore(
        self,
        target: TrainState,
        which: str | int = "latest",
        devices: Sequence[jax.Device] | None = None,
    ) -> tuple[TrainState, dict[str, Any]]:
        """Loads a state and its position, onto any number of devices.

        Args:
          target: a state, or its shapes (`jax.eval_shape`), of the networks to be restored.
          which: 'latest', 'best' or a step.
          devices: which get copies of the arrays; all devices by default.

        Returns:
          The state, on each of the devices, and the position in the training data.

        Raises:
          UserError: no such checkpoint, or it is damaged or of other networks.
        """
        tree = _tree_of(target)
        targets = {"ema": tree.pop("ema"), "state": tree}
        restored = self.read(
            which,
            lambda step: self._restore(step, targets, devices, iterator=ocp.args.JsonRestore()),
        )
        tree = {"surrogates": {}} | restored["state"] | {"ema": restored["ema"]}
        return flax.serialization.from_state_dict(target, tree), restored["iterator"]

    def restore_ema(
        self, target: Any, which: str | int, devices: Sequence[jax.Device] | None = None
    ) -> Any:
        """Loads the averaged parameters of the generator alone.

        Args:
          target: the generator's parameters, or their shapes.
          which: 'latest', 'best' or a step.
          devices: which get copies of the arrays; all devices by default.

        Raises:
          UserError: no such checkpoint, or it is damaged or of another generator.
        """
        tree = flax.serialization.to_state_dict(target)
        restored = self.read(which, lambda step: self._restore(step, {"ema": tree}, devices))
        return flax.serialization.from_state_dict(target, restored["ema"])

    def _restore(self, step: int, targets: dict[str, Any], devices, **args):
        sharding = replicated_sharding(devices)
        for item, target in targets.items():
            if difference := _first_difference(self.shapes(step, item), target):
                raise UserError(
                    f"checkpoint {self.folder / str(step)} is of another network than the config "
                    f"describes: {difference}. Use the config it was trained with, saved in "
                    f"{self.workdir / run_config.FILE}, or another --workdir."
                )
            abstract = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), target
            )
            args[item] = ocp.args.StandardRestore(abstract)
        return self.read_items(step, **args)


def _tree_of(state: TrainState) -> dict[str, Any]:
    """The state as nested dicts; without surrogates as version 0.1.0, which had none, wrote it."""
    tree = flax.serialization.to_state_dict(state)
    if not state.surrogates:
        del tree["surrogates"]
    return tree


def _first_difference(saved: Any, target: Any) -> str | None:
    """Names the first array whose shape differs, or that only one side has; None if all agree."""
    old, new = (
        {name: list(x.shape) for name, x in flax.traverse_util.flatten_dict(tree, sep="/").items()}
        for tree in (saved, target)
    )
    # Parameters before the optimiser's moments of them.
    for name in sorted(old.keys() | new.keys(), key=lambda name: (name.startswith("opt"), name)):
        if name not in old:
            return f"{name} {new[name]} is not in the checkpoint"
        if name not in new:
            return f"{name} {old[name]} is only in the checkpoint"
        if old[name] != new[name]:
            return f"{name} has shape {old[name]} in the checkpoint and {new[name]} now"
    return None
