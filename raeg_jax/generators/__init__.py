"""The generator that comes with the package, so that `raeg protect` works without training one."""

import importlib.resources
import pathlib

from raeg_jax.errors import UserError

NAME = "small.raeg"


def default_path() -> pathlib.Path:
    """Finds the generator's file.

    Raises:
      UserError: it is missing.
    """
    path = pathlib.Path(str(importlib.resources.files(__name__) / NAME))
    if not path.is_file():
        raise UserError(
            f"the generator that comes with raeg-jax is missing, {path}: install raeg-jax again, "
            "or name a generator of your own (--generator)"
        )
    return path
