"""The network's part, loaded when it is needed: importing JAX takes seconds."""

import pathlib

from raeg_jax.errors import UserError
from raeg_jax.payload.key import Key
from raeg_jax.protection import generator_file

# The method that is no compared one.
GENERATOR = "raeg"


def check_generator(path: pathlib.Path) -> None:
    """Looks whether a file may be a generator, without loading it.

    Raises:
      UserError: it isn't.
    """
    try:
        generator_file.check_start(path)
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror or error}") from error


def open_generator(path: pathlib.Path):
    """Reads a generator file, see `codec.bundle.load_bundle`."""
    from raeg_jax.protection.loaded_generator import load_generator

    return load_generator(path)


def protector(bundle, key: Key, batch_size: int, tries: int):
    """Makes what protects arrays, see `codec.protect.Protector`."""
    from raeg_jax.protection.protect import Protector

    return Protector(bundle, key, batch_size=batch_size, tries=tries)


def compared(bundle, key: Key, batch_size: int, method: str, psnr: float | None):
    """Makes what protects arrays with RAE or RIT, see `tool.compared`."""
    from raeg_jax.methods.tool import ToolProtector

    return ToolProtector(method, bundle, key, psnr, batch_size)


def recoverer(bundle, key: Key, batch_size: int):
    """Makes what recovers arrays, see `codec.recover.Recoverer` and `tool.compared`."""
    from raeg_jax.methods.recovery import FallbackRecoverer
    from raeg_jax.protection.recover import Recoverer

    return FallbackRecoverer(Recoverer(bundle, key, batch_size=batch_size), key)


def readers(bundle, batch_size: int):
    """Makes what reads images with a bundle's classifiers, see `tool.reading.Readers`."""
    from raeg_jax.tool.reading import Readers

    return Readers(bundle, batch_size)


def effect(workdir: str, config, checkpoint: str):
    """Tells what a generator does, see `tool.exporting.effect`."""
    from raeg_jax.tool import exporting

    return exporting.effect(workdir, config, checkpoint)


def export(workdir: str, generator: str, **options):
    """Writes a generator file, see `tool.exporting.export`."""
    from raeg_jax.tool import exporting

    return exporting.export(workdir, generator, **options)
