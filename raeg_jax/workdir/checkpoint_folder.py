"""A folder of checkpoints, one for each step, on top of Orbax.

A checkpoint is written under a temporary name and renamed when it is complete, and renamed before
it is removed, so that a kill leaves only whole checkpoints under their names. Checkpoints that a
full disk, a lost page or a removed file has damaged are skipped.
"""

import contextlib
import functools
import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint import checkpoint_managers

from raeg_jax.errors import UserError
from raeg_jax.workdir.processes import is_main_process, say

_REMOVED, _DAMAGED = "removed", "damaged"
_UNFINISHED = "*.orbax-checkpoint-tmp*"

T = TypeVar("T")


class DamagedError(UserError):
    """A checkpoint that can't be read."""


@functools.cache
def _ignore_closed_loops() -> None:
    """Hides what TensorStore prints when parts of a read or write end after another part failed.

    They report to an event loop of Orbax's, which is closed by then.
    """
    before = sys.unraisablehook

    def hook(unraisable):
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keeps Orbax from logging tracebacks of errors that it raises too."""
    _ignore_closed_loops()
    before = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Explains what Orbax raises at damaged files.

    Args:
      what: names the files that the block reads; it does nothing else.

    Raises:
      DamagedError: the block raised anything but that memory, or that of a device, is full.
    """
    try:
        with quietly():
            yield
    except (MemoryError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:  # Orbax and TensorStore raise almost any kind
        reason = str(error).split("\n", 1)[0].strip()[:200] or type(error).__name__
        raise DamagedError(f"{what} can't be read ({reason})") from error


class _Manager(ocp.CheckpointManager):
    def metrics(self, step: int) -> dict[str, float] | None:
        """Scalars of a step; None if it has none, or if their file is damaged."""
        try:
            metrics = super().metrics(step)
        except (OSError, ValueError):
            return None
        return metrics if isinstance(metrics, dict) else None


class CheckpointFolder(contextlib.AbstractContextManager):
    """The checkpoints in one folder, by the step at which they were saved.

    Attributes:
      folder: absolute.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        handlers: Mapping[str, ocp.CheckpointHandler],
        policy: checkpoint_managers.PreservationPolicy,
        writable: bool = True,
        **options: Any,
    ):
        """Opens the folder.

        Args:
          folder: of the checkpoints.
          handlers: of the items of a checkpoint, by name.
          policy: says which checkpoints `save` leaves there.
          writable: make the folder if it is missing, and remove unfinished checkpoints; if false,
            nothing is written.
          options: further ones of `ocp.CheckpointManagerOptions`.

        Raises:
          UserError: the folder is a file.
        """
        self.folder, self._writable = pathlib.Path(folder).absolute(), writable
        self._skipped: set[int] = set()
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(
                f"{self.folder} is a file where the folder of checkpoints belongs: remove it, or "
                "use another --workdir"
            )
        if writable:
            self._clear()
        self._manager = _Manager(
            self.folder,
            item_handlers=dict(handlers),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy,
                # A step that the log calls saved must be on disk.
                enable_async_checkpointing=False,
                create=writable,
                # Orbax deletes file by file, which a kill may interrupt.
                todelete_subdir=_REMOVED,
                **options,
            ),
        )

    def _clear(self) -> None:
        """Removes checkpoints that are half-written or half-removed.

        Orbax would do so in the background, and fail where the process ends first.
        """
        if is_main_process():
            for path in (self.folder / _REMOVED, *self.folder.glob(_UNFINISHED)):
                shutil.rmtree(path, ignore_errors=True)

    def steps(self) -> list[int]:
        """Steps of the checkpoints, ascending, without those known to be damaged."""
        return sorted(set(self._manager.all_steps()) - self._skipped)

    def metrics(self, step: int) -> dict[str, float] | None:
        """Scalars that the checkpoint was saved with; None without."""
        return self._manager.metrics(step) or None

    def save_items(
        self,
        step: int,
        items: Mapping[str, ocp.args.CheckpointArgs],
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Saves a checkpoint, and removes those that the policy doesn't preserve."""
        with quietly():
            self._manager.save(step, args=ocp.args.Composite(**items), metrics=metrics, force=True)
        self._clear()

    def shapes(self, step: int, item: str) -> Any:
        """The tree of an item's arrays, as shapes and dtypes.

        Raises:
          DamagedError: it can't be read.
        """
        with reading(f"the checkpoint {self.folder / str(step)}"):
            return self._manager.item_metadata(step)[item].tree

    def read_items(self, step: int, **items: ocp.args.CheckpointArgs) -> Any:
        """Reads items of a checkpoint.

        Raises:
          DamagedError: an item can't be read.
        """
        with reading(f"the checkpoint {self.folder / str(step)}"):
            return self._manager.restore(step, args=ocp.args.Composite(**items))

    def read_newest(self, read: Callable[[int], T]) -> T:
        """Calls `read` with the newest step, or, where that checkpoint is damaged, the one before.

        There must be a checkpoint. A note names damaged ones, which are moved to `damaged/` where
        this folder is writable.

        Raises:
          DamagedError: all are damaged; the last one was left where it is.
        """
        while True:
            steps = self.steps()
            try:
                return read(steps[-1])
            except DamagedError as error:
                if not self._writable:
                    self._manager.reload()
                    if steps[-1] not in self._manager.all_steps():
                        continue  # a training run beside this process has removed it
                if len(steps) == 1:
                    raise DamagedError(
                        f"{error}, and there is none before it: restore it, or remove "
                        f"{self.folder} to start afresh"
                    ) from error
                say(f"note: {error}: the checkpoint of step {steps[-2]} is used instead")
                self.set_aside(steps[-1])

    def set_aside(self, step: int) -> None:
        """Skips a checkpoint from now on."""
        if not self._writable:
            self._skipped.add(step)
            return
        self._manager.delete(step)
        if is_main_process():
            target = self.folder / _DAMAGED / str(step)
            target.parent.mkdir(exist_ok=True)
            shutil.rmtree(target, ignore_errors=True)
            os.replace(self.folder / _REMOVED / str(step), target)

    def delete(self, step: int) -> None:
        """Removes a checkpoint."""
        self._manager.delete(step)
        self._clear()

    def close(self) -> None:
        """Releases the folder."""
        self._manager.close()

    def __exit__(self, *_):
        self.close()
