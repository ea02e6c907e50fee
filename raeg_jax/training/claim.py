"""One run at a time in a workdir."""

import contextlib
import pathlib
from collections.abc import Iterator

from raeg_jax.errors import UserError
from raeg_jax.files import check_free_space
from raeg_jax.lock import locked
from raeg_jax.training.parallel import is_main_process

FILE = "lock"


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
                stack.enter_context(locked(workdir / FILE, wait=False))
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
