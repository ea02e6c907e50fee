"""What the training of a classifier goes on from; gone when the classifier is finished."""

import contextlib
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import flax.serialization
import jax
import numpy as np
import orbax.checkpoint as ocp

from raeg_jax.training import parallel

FOLDER = "unfinished"


class ClassifierCheckpoint(contextlib.AbstractContextManager):
    """The latest state of one classifier's training, whole at any time, in `unfinished/`."""

    def __init__(self, folder: pathlib.Path, origin: Mapping[str, Any]):
        """Opens the folder.

        Args:
          folder: of the classifier; made if missing.
          origin: all that the classifier depends on, as JSON holds it. A checkpoint of another
            origin is removed.
        """
        self._folder = pathlib.Path(folder).absolute() / FOLDER
        self._origin = dict(origin)
        self._manager = ocp.CheckpointManager(
            self._folder,
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "iterator": ocp.JsonCheckpointHandler(),
                "origin": ocp.JsonCheckpointHandler(),
            },
            options=ocp.CheckpointManagerOptions(
                max_to_keep=1,
                enable_async_checkpointing=False,
                create=True,
                cleanup_tmp_directories=True,
            ),
        )
        for step in self._manager.all_steps():
            args = ocp.args.Composite(origin=ocp.args.JsonRestore())
            if self._manager.restore(step, args=args)["origin"] != self._origin:
                self._manager.delete(step)

    def save(self, step: int, state: Any, iterator: Mapping[str, Any]) -> None:
        """Saves the state after `step` steps, in place of the one before.

        Args:
          step: how many steps were taken.
          state: a tree of arrays; as `parallel.replicate` or a step gave it.
          iterator: position in the training data, as JSON holds it.
        """
        # From the host: Orbax would cut each array into one file a device that holds a copy.
        tree = flax.serialization.to_state_dict(jax.device_get(state))
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(tree),
                iterator=ocp.args.JsonSave(dict(iterator)),
                origin=ocp.args.JsonSave(self._origin),
            ),
            force=True,
        )

    def restore(self, target: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """Loads what `save` saved.

        Args:
          target: a state of the same structure, or its shapes.

        Returns:
          Steps taken, the state (on the host) and the position in the training data; None where
          there is no checkpoint.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        tree = flax.serialization.to_state_dict(target)
        tree = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(tree), iterator=ocp.args.JsonRestore()
        )
        restored = self._manager.restore(step, args=args)
        return step, flax.serialization.from_state_dict(target, restored.state), restored.iterator

    def remove(self) -> None:
        """Ends it: the classifier is finished."""
        self._manager.close()
        if parallel.is_main_process():
            shutil.rmtree(self._folder, ignore_errors=True)

    def __exit__(self, *_):
        self._manager.close()
