"""Checkpoints of trainings whose result is one array or network: classifiers, learned patterns."""

import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import flax.serialization
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from raeg_jax.workdir.checkpoint_folder import CheckpointFolder, DamagedError
from raeg_jax.workdir.origin import UNFINISHED
from raeg_jax.workdir.processes import is_main_process, say


class UnfinishedCheckpoint(CheckpointFolder):
    """The latest states of a training, whole at any time, in `unfinished/`."""

    def __init__(self, folder: pathlib.Path, origin: Mapping[str, Any]):
        """Opens the folder.

        Args:
          folder: of what is trained; made if missing.
          origin: all that the result depends on, as JSON holds it. A checkpoint of another
            origin is removed.
        """
        self._origin = dict(origin)
        super().__init__(
            pathlib.Path(folder) / UNFINISHED,
            {
                "state": ocp.StandardCheckpointHandler(),
                "iterator": ocp.JsonCheckpointHandler(),
                "origin": ocp.JsonCheckpointHandler(),
            },
            # The second is for the case that the latest is damaged.
            checkpoint_managers.LatestN(2),
        )
        for step in self.steps():
            try:
                saved = self.read_items(step, origin=ocp.args.JsonRestore())["origin"]
            except DamagedError:
                continue  # `restore` names it
            if saved != self._origin:
                self.delete(step)

    def save(self, step: int, state: Any, iterator: Mapping[str, Any]) -> None:
        """Saves the state after `step` steps.

        Args:
          step: how many steps were taken.
          state: a tree of arrays, as `replicate` or a step returns it.
          iterator: position in the training data, as JSON holds it.
        """
        # From the host: Orbax would cut each array into one file a device that holds a copy.
        tree = flax.serialization.to_state_dict(jax.device_get(state))
        self.save_items(
            step,
            {
                "state": ocp.args.StandardSave(tree),
                "iterator": ocp.args.JsonSave(dict(iterator)),
                "origin": ocp.args.JsonSave(self._origin),
            },
        )

    def restore(self, target: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """Loads the latest checkpoint, or, where that is damaged, the one before.

        Args:
          target: a state of the same structure, or its shapes.

        Returns:
          Steps taken, the state (on the host) and the position in the training data; None where
          there is no whole checkpoint.
        """
        tree = flax.serialization.to_state_dict(target)
        tree = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)

        def read(step: int) -> tuple[int, Any, dict[str, Any]]:
            items = self.read_items(
                step,
                state=ocp.args.StandardRestore(tree),
                iterator=ocp.args.JsonRestore(),
                # Where it can't be read, the checkpoint may be another run's.
                origin=ocp.args.JsonRestore(),
            )
            return step, flax.serialization.from_state_dict(target, items.state), items.iterator

        if not self.steps():
            return None
        try:
            return self.read_newest(read)
        except DamagedError as error:
            say(f"note: {error}; this training starts afresh")
            self.set_aside(self.steps()[-1])
            return None

    def remove(self) -> None:
        """Closes and removes the checkpoints: the training is finished."""
        self.close()
        if is_main_process():
            shutil.rmtree(self.folder, ignore_errors=True)
