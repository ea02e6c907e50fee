"""Where operations are made and images run: in this process, or on the workers of `--engine`."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from raeg_jax.cli import operations
from raeg_jax.cli.generators import Generators
from raeg_jax.cli.pipeline import Operation
from raeg_jax.cli.report import Report
from raeg_jax.cli.runner import Runner
from raeg_jax.cli.scan import Paths
from raeg_jax.errors import UserError
from raeg_jax.payload.key import Key
from raeg_jax.remote import URL

if TYPE_CHECKING:
    from raeg_jax.cli.commands import ConvertOptions, ProtectOptions
    from raeg_jax.protection.loaded_generator import LoadedGenerator

RAY = "ray"
# Of --engine.
ENGINES = (RAY,)

O = TypeVar("O", bound="ConvertOptions")  # noqa: E741


class Engine:
    """This process."""

    def protection(
        self,
        options: ProtectOptions,
        key: Key,
        generator: LoadedGenerator,
        label_of: Callable[[Any], int | None],
    ) -> Operation:
        """Makes what protects, see `operations.protection`."""
        return operations.protection(options, key, generator, label_of)

    def recovery(self, options: ConvertOptions, key: Key, generators: Generators) -> Operation:
        """Makes what recovers, see `operations.recovery`."""
        return operations.recovery(options, key, generators)

    @contextlib.contextmanager
    def runner(self, operation: Operation, report: Report, batch_size: int) -> Iterator[Runner]:
        """Makes what runs images through an operation that this engine made."""
        del operation
        yield Runner(report, batch_size)


def usable(options: O) -> O:
    """Checks the options of an engine, and gives files names that all machines understand.

    Raises:
      UserError: they contradict each other.
    """
    if options.engine is None:
        for name in ("address", "workers"):
            if getattr(options, name) is not None:
                raise UserError(f"--{name} is for --engine=ray: give that too, or leave it out")
        return options
    for place in (options.source, options.out):
        if URL.match(place):
            raise UserError(
                f"{place} is a URL, and --engine={options.engine} reads and writes folders that "
                "its machines share: mount it, or leave the engine out and give --shard i/N"
            )
    generator = options.generator
    return dataclasses.replace(
        options,
        source=os.path.abspath(options.source),
        out=os.path.abspath(options.out),
        key=os.path.abspath(options.key),
        generator=(
            os.path.abspath(generator) if generator and os.path.exists(generator) else generator
        ),
    )


@contextlib.contextmanager
def open_engine(options: ConvertOptions, paths: Paths) -> Iterator[Engine]:
    """Opens the engine that was asked for.

    Raises:
      UserError: its library or its cluster is missing, or it is for more than one image.
    """
    if options.engine is None:
        yield Engine()
        return
    if paths.single:
        raise UserError(
            f"--engine={options.engine} is for folders and data sets, and {paths.source} is an "
            "image: leave it out"
        )
    from raeg_jax.scale.ray_engine import open_ray

    with open_ray(options.address, options.workers, paths) as engine:
        yield engine
