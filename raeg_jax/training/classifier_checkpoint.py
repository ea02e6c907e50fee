"""What the training of a classifier goes on from; gone when the classifier is finished."""

import contextlib
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import flax.serialization
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from raeg_jax.training import parallel
from raeg_jax.training.steps import DamagedError, Steps

FOLDER = "unfinished"


def unfinished_origins(folder: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Origins of the checkpoints in a classifier's folder, of those that can be read."""
    for path in sorted((pathlib.Path(folder) / FOLDER).glob("*/origin/metadata")):
        if path.parts[-3].isdecimal():
            with contextlib.suppress(OSError, ValueError):
                yield json.loads(path.read_bytes())


class ClassifierCheckpoint(contextlib.AbstractContextManager):
    """The latest states of one classifier's training, whole at any time, in `unfinished/`."""

    def __init__(self, folder: pathlib.Path, origin: Mapping[str, Any]):
        """Opens the folder.

        Args:
          folder: of the classifier; made if missing.
          origin: all that the classifier depends on, as JSON holds it. A checkpoint of another
            origin is removed.
        """
        self._origin = dict(origin)
        self._steps = Steps(
            pathlib.Path(folder) / FOLDER,
            {
                "state": ocp.StandardCheckpointHandler(),
                "iterator": ocp.JsonCheckpointHandler(),
                "origin": ocp.JsonCheckpointHandler(),
            },
            # One more, should the latest be damaged.
            checkpoint_managers.LatestN(2),
        )
        for step in self._steps.all():
            try:
                own = self._steps.read(step, origin=ocp.args.JsonRestore())["origin"]
            except DamagedError:
                continue  # told when it is to be restored
            if own != self._origin:
                self._steps.delete(step)

    def save(self, step: int, state: Any, iterator: Mapping[str, Any]) -> None:
        """Saves the state after `step` steps.

        Args:
          step: how many steps were taken.
          state: a tree of arrays; as `parallel.replicate` or a step gave it.
          iterator: position in the training data, as JSON holds it.
        """
        # From the host: Orbax would cut each array into one file a device that holds a copy.
        tree = flax.serialization.to_state_dict(jax.device_get(state))
        self._steps.save(
            step,
            {
                "state": ocp.args.StandardSave(tree),
                "iterator": ocp.args.JsonSave(dict(iterator)),
                "origin": ocp.args.JsonSave(self._origin),
            },
        )

    def restore(self, target: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """Loads what `save` saved last, or, where that is damaged, what it saved before.

        Args:
          target: a state of the same structure, or its shapes.

        Returns:
          Steps taken, the state (on the host) and the position in the training data; None where
          there is no whole checkpoint.
        """
        tree = flax.serialization.to_state_dict(target)
        tree = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)

        def read(step: int) -> tuple[int, Any, dict[str, Any]]:
            found = self._steps.read(
                step,
                state=ocp.args.StandardRestore(tree),
                iterator=ocp.args.JsonRestore(),
                # Without it the checkpoint may be another run's.
                origin=ocp.args.JsonRestore(),
            )
            return step, flax.serialization.from_state_dict(target, found.state), found.iterator

        if not self._steps.all():
            return None
        try:
            return self._steps.newest(read)
        except DamagedError as error:
            parallel.say(f"note: {error}; this classifier begins anew")
            self._steps.set_aside(self._steps.all()[-1])
            return None

    def remove(self) -> None:
        """Ends it: the classifier is finished."""
        self._steps.close()
        if parallel.is_main_process():
            shutil.rmtree(self._steps.folder, ignore_errors=True)

    def __exit__(self, *_):
        self._steps.close()
