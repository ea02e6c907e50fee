"""Makes the operations of commands: their generators are loaded here, wherever they are used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from raeg_jax.cli.generators import Generators
from raeg_jax.cli.protect import Protection
from raeg_jax.cli.recover import Recovery
from raeg_jax.cli.report import TOGETHER
from raeg_jax.methods import transform
from raeg_jax.payload.key import Key

if TYPE_CHECKING:
    from raeg_jax.cli.commands import ConvertOptions, ProtectOptions
    from raeg_jax.methods.tool import ToolProtector
    from raeg_jax.protection.loaded_generator import LoadedGenerator
    from raeg_jax.protection.protect import Protector

# The method of a generator, and those that articles compare it with.
GENERATOR = "raeg"
METHODS = (GENERATOR, *transform.NAMES)


def protection(
    options: ProtectOptions,
    key: Key,
    generator: LoadedGenerator,
    label_of: Callable[[Any], int | None],
) -> Protection:
    """Makes what protects, and has the generator's targets read what became of images."""
    protector = make_protector(generator, key, options)
    readings = make_target_reader(generator, protector.batch_size)
    return Protection(protector, label_of, options.strip, readings)


def recovery(options: ConvertOptions, key: Key, generators: Generators) -> Recovery:
    """Makes what recovers."""
    return Recovery(generators.recoverer(key, options.batch_size))


def make_protector(
    generator: LoadedGenerator, key: Key, options: ProtectOptions
) -> Protector | ToolProtector:
    """Makes what protects pixels with the method that was asked for."""
    if options.method != GENERATOR:
        from raeg_jax.methods.tool import ToolProtector

        return ToolProtector(options.method, generator, key, options.psnr, options.batch_size)
    from raeg_jax.protection.protect import Protector

    return Protector(
        generator, key, batch_size=options.batch_size, tries=options.tries, psnr=options.psnr
    )


def make_target_reader(
    generator: LoadedGenerator, batch_size: int
) -> Callable[[Sequence[np.ndarray]], dict[str, np.ndarray]] | None:
    """Makes what reads images with a generator's targets, see `Protection`; None without them."""
    if not generator.has_targets:
        return None
    from raeg_jax.protection.predict import target_readings

    names = (TOGETHER, *generator.config.classifiers.targets)
    return lambda images: dict(
        zip(names, target_readings(generator, images, batch_size), strict=True)
    )
