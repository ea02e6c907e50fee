"""An operation that is made where it is used: what a worker needs to know of a command."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import raeg_jax
from raeg_jax.cli import operations
from raeg_jax.cli.generators import find_generator, open_generator, open_generators
from raeg_jax.cli.outputs import Output
from raeg_jax.cli.pipeline import Loaded, Operation
from raeg_jax.cli.scan import SourceImage
from raeg_jax.errors import UserError
from raeg_jax.payload import key as key_lib

if TYPE_CHECKING:
    from raeg_jax.cli.commands import ConvertOptions, ProtectOptions

# One network at a time computes in a process; files are read and written meanwhile.
_COMPUTING = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Recipe(Operation[Any]):
    """Makes an operation on the machine and in the process that uses it, once.

    It may be pickled, unlike the operation. Keys don't travel: each machine reads the key file.

    Attributes:
      options: of the command, whose files have the same names on all machines.
      label_of: see `Protection`; None for recovering.
      generator: id of that which the driver has, in hexadecimal; empty for recovering.
      version: of the package that the driver has.
    """

    options: ConvertOptions
    label_of: Callable[[Any], int | None] | None = None
    generator: str = ""
    version: str = raeg_jax.__version__

    @functools.cached_property
    def made(self) -> Operation[Any]:
        """The operation.

        Raises:
          UserError: this machine has another version or generator, or lacks a file.
        """
        where = f"the worker on {os.uname().nodename}"
        if self.version != raeg_jax.__version__:
            raise UserError(
                f"{where} has raeg-jax {raeg_jax.__version__}, and this machine {self.version}: "
                "install the same on all"
            )
        key = key_lib.read_key(self.options.key)
        if self.label_of is None:
            generators = open_generators(self.options.generator)
            return operations.recovery(self.options, key, generators)
        options: ProtectOptions = self.options  # type: ignore[assignment]
        path = find_generator(options.generator)
        generator = open_generator(path)
        if generator.id.hex() != self.generator:
            raise UserError(f"{where} has another generator in {path}: give all the same file")
        return operations.protection(options, key, generator, self.label_of)

    @property
    def batch_size(self) -> int | None:
        """See `Operation`."""
        return self.made.batch_size

    def cost(self, image: SourceImage) -> int:
        """See `Operation`."""
        return self.made.cost(image)

    def read(self, image: SourceImage) -> Loaded:
        """See `Operation`."""
        return self.made.read(image)

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """See `Operation`."""
        return self.made.shape(height, width)

    def transform(self, batch: Sequence[Loaded]) -> Sequence[Any]:
        """See `Operation`; for any thread."""
        with _COMPUTING:
            return self.made.transform(batch)

    def output(self, loaded: Loaded, value: Any, path: pathlib.Path) -> Output:
        """See `Operation`."""
        return self.made.output(loaded, value, path)
