"""Which generators a command works with: the one that was given, or those of the package."""

from __future__ import annotations

import abc
import functools
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import tqdm

from raeg_jax.cli.report import log
from raeg_jax.compilation import enable_cache
from raeg_jax.errors import UserError
from raeg_jax.payload.key import Key
from raeg_jax.protection import generator_file, shipped
from raeg_jax.protection.restore import PixelRecoverer

if TYPE_CHECKING:
    from raeg_jax.evaluation.readers import Reader
    from raeg_jax.protection.loaded_generator import LoadedGenerator


def check_generator(path: pathlib.Path) -> None:
    """Checks that a file may be a generator, without loading it.

    Raises:
      UserError: it isn't.
    """
    try:
        generator_file.check_start(path)
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror or error}") from error


def find_generator(given: str | None) -> pathlib.Path:
    """The file that --generator names, or that of the default.

    Raises:
      UserError: it can't be a generator.
    """
    path = shipped.resolve(given) if given else shipped.path_of(shipped.DEFAULT)
    check_generator(path)
    return path


def open_generator(path: pathlib.Path) -> LoadedGenerator:
    """Reads a generator file, and says so, as it takes seconds."""
    # The progress bar is cleared first, and drawn again below the line.
    with tqdm.tqdm.external_write_mode(sys.stderr):
        log(f"loading the generator {path}…")
    enable_cache()
    return load_generator(path)


def load_generator(path: pathlib.Path) -> LoadedGenerator:
    """Reads a generator file; as the functions below, it imports JAX, which takes seconds."""
    from raeg_jax.protection.loaded_generator import load_generator

    return load_generator(path)


def make_recoverer(generator: LoadedGenerator, key: Key, batch_size: int) -> PixelRecoverer:
    """Makes what recovers pixels that any method protected."""
    from raeg_jax.methods.recovery import FallbackRecoverer
    from raeg_jax.protection.recover import Recoverer

    return FallbackRecoverer(Recoverer(generator, key, batch_size=batch_size), key)


class Generators(abc.ABC):
    """The generators of protected images.

    Attributes:
      setting: stands for them in the settings of a run.
      shown: stands for them in 'what classifiers see isn't reported, as ...'.
    """

    setting: str
    shown: str

    @abc.abstractmethod
    def recoverer(self, key: Key, batch_size: int) -> PixelRecoverer:
        """Makes what recovers pixels."""

    @abc.abstractmethod
    def of(self, generator_id: bytes) -> LoadedGenerator | None:
        """The generator whose classifiers read an image; by the id that its payload has."""


class GivenGenerator(Generators):
    """One for all images; those of another one fail.

    Args:
      path: of its file.
    """

    def __init__(self, path: pathlib.Path):
        self._generator = open_generator(path)
        self.setting, self.shown = self._generator.id.hex(), f"{path} has"

    def recoverer(self, key: Key, batch_size: int) -> PixelRecoverer:
        """See `Generators`."""
        return make_recoverer(self._generator, key, batch_size)

    def of(self, generator_id: bytes) -> LoadedGenerator:
        """See `Generators`: the one, for images of RAE and RIT as well."""
        return self._generator


class ShippedGenerators(Generators):
    """Those that come with the package, each for the images that name it.

    Each is loaded as soon as an image needs it.
    """

    # Other names in later versions, and another default, change nothing for a run that resumes.
    setting, shown = "shipped", "the generators of these images have"

    def __init__(self) -> None:
        self._open: Callable[[str], LoadedGenerator] = functools.cache(
            lambda name: open_generator(shipped.path_of(name))
        )

    def recoverer(self, key: Key, batch_size: int) -> PixelRecoverer:
        """See `Generators`."""
        from raeg_jax.methods.recovery import ShippedRecoverer

        return ShippedRecoverer(key, lambda name: make_recoverer(self._open(name), key, batch_size))

    def of(self, generator_id: bytes) -> LoadedGenerator | None:
        """See `Generators`."""
        name = shipped.name_of(generator_id)
        return self._open(name) if name else None


def check_generators(given: str | None) -> None:
    """Checks what `open_generators` will need, without loading it.

    Raises:
      UserError: a file is missing, or no generator.
    """
    if given:
        find_generator(given)
    else:
        for name in shipped.SHIPPED:
            check_generator(shipped.path_of(name))


def open_generators(given: str | None) -> Generators:
    """The generators for --generator, or for its absence, of commands that take protected images.

    Raises:
      UserError: the one that is given can't be used.
    """
    return GivenGenerator(find_generator(given)) if given else ShippedGenerators()


def make_readers(
    generators: Generators, files: Sequence[str], preprocess: str
) -> Callable[[bytes], dict[str, Reader]]:
    """Makes what reads images: the classifiers of their generator, and models of files.

    Args:
      generators: of the images.
      files: of --reader.
      preprocess: what the ONNX models among them expect.

    Returns:
      By the id of an image's generator, readers by name.

    Raises:
      UserError: see `readers.open_readers`.
    """
    from raeg_jax.evaluation import readers

    @functools.cache
    def own(generator: LoadedGenerator | None) -> dict[str, Reader]:
        return readers.of_generator(generator) if generator else {}

    # Of the generator for all images, where there is one.
    models = readers.open_readers(files, preprocess, taken=own(generators.of(b"")))
    return lambda generator_id: own(generators.of(generator_id)) | models
