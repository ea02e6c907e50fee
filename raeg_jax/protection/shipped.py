"""The generators that come with the package, by name; this module doesn't import JAX.

A generator that was shipped once stays: images that it protected need it.
"""

import importlib.resources
import os
import pathlib

from raeg_jax.errors import UserError

# The id of each: payloads name it.
SHIPPED = {
    "photo": bytes.fromhex("af8d35ddcacf0e1f"),
    "small": bytes.fromhex("10bcc0c63b6efb77"),
}
# What protects where nobody names a generator.
DEFAULT = "photo"


def path_of(name: str) -> pathlib.Path:
    """Finds the file of a generator that comes with the package.

    Args:
      name: of `SHIPPED`.

    Raises:
      UserError: it is missing, as in an incomplete installation.
    """
    path = pathlib.Path(str(importlib.resources.files("raeg_jax.generators") / f"{name}.raeg"))
    if not path.is_file():
        raise UserError(
            f"the generator that comes with raeg-jax is missing, {path}: install raeg-jax again, "
            "or name a generator of your own (--generator)"
        )
    return path


def resolve(generator: str | os.PathLike) -> pathlib.Path:
    """The file of a generator, which may be named by a name of `SHIPPED`; a file of it wins.

    Raises:
      UserError: as `path_of`.
    """
    path = pathlib.Path(generator)
    # A folder of photographs may well be called so.
    if os.fspath(generator) in SHIPPED and (path.is_dir() or not path.exists()):
        return path_of(os.fspath(generator))
    return path


def name_of(generator_id: bytes) -> str | None:
    """The name of a generator that comes with the package; None for any other id."""
    return next((name for name, each in SHIPPED.items() if each == generator_id), None)


def names() -> str:
    """All names, for messages."""
    return " and ".join(SHIPPED)
