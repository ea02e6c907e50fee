"""A codec without network, and the command with it: `python fake_codec.py ARGUMENTS`.

Samples' lowest bits are flipped, which is undone exactly. All else is as in the real one: payloads
are locked, hidden in the pixels or, where these have no room, kept beside them, and found by the
code of the real one.
"""

import dataclasses
import functools
import hashlib
import math
import os
import pathlib
import signal
import sys
import time

import numpy as np

from raeg_jax import hiding
from raeg_jax.cli import generators, operations
from raeg_jax.errors import UserError
from raeg_jax.payload.errors import PayloadError
from raeg_jax.payload.key import Key
from raeg_jax.payload.overflow import Overflow
from raeg_jax.payload.payload import Payload, SourceMode, check_pixels, digest
from raeg_jax.payload.seal import check_generator, open_sealed, seal
from raeg_jax.scale.recipe import Recipe

CLASS_NAMES = ("anchor", "ibis", "lotus")
# The red of an image's first pixel by which these faults are asked for.
BROKEN, IMPOSSIBLE = 251, 252


@dataclasses.dataclass(eq=False)
class Bundle:
    id: bytes = b"fakefake"
    class_names: tuple[str, ...] = CLASS_NAMES
    classifiers: dict = dataclasses.field(default_factory=dict)
    labels_are_readings: bool = False
    has_targets: bool = False


@dataclasses.dataclass
class Protected:
    pixels: np.ndarray
    blob: bytes
    in_pixels: bool
    psnr: float
    label: int | None


@dataclasses.dataclass
class Recovered:
    pixels: np.ndarray
    mode: SourceMode
    orientation: int
    label: int | None
    in_pixels: bool
    generator_id: bytes


class Protector:
    batch_size = 16

    def __init__(self, bundle: Bundle, key: Key, tries: int = 1, seconds: float = 0.0):
        self._bundle, self._key, self._seconds = bundle, key, seconds
        self.tries = tries
        self.batches: list[tuple[int, ...]] = []

    def shape(self, height, width):
        return height, width

    def protect(self, images, labels, modes, orientations):
        (shape,) = {image.shape for image in images}
        self.batches.append((len(images), *shape))
        time.sleep(self._seconds)
        if any(image[0, 0, 0] == BROKEN for image in images):
            raise RuntimeError("a fault of ours")
        if any(image[0, 0, 0] == IMPOSSIBLE for image in images):
            raise UserError("an impossible image: give another one")
        return [
            self._protect(*each) for each in zip(images, labels, modes, orientations, strict=True)
        ]

    def _protect(self, image, label, mode, orientation):
        payload = Payload(
            nonce=hashlib.sha256(image.tobytes()).digest()[:12],
            generator_id=self._bundle.id,
            height=image.shape[0],
            width=image.shape[1],
            sha256=digest(image),
            mode=mode,
            orientation=orientation,
            side_info=np.array([[len(CLASS_NAMES) if label is None else label]]),
            overflow=Overflow(np.zeros(0), np.zeros(0)),
        )
        blob, pixels = seal(payload, self._key), image ^ 1
        psnr = 20 * math.log10(255)
        try:
            return Protected(hiding.embed(pixels, blob), blob, True, psnr, label)
        except hiding.CapacityError:
            return Protected(pixels, blob, False, psnr, label)


class Recoverer:
    def __init__(self, bundle: Bundle, key: Key, batch_size: int = 16):
        self._bundle, self._key = bundle, key

    def shape(self, height, width):
        return height, width

    def recover(self, images, blobs):
        results = []
        for image, blob in zip(images, blobs, strict=True):
            try:
                results.append(self._recover(image, blob))
            except PayloadError as error:
                results.append(error)
        return results

    def _recover(self, image, blob):
        from raeg_jax.payload.seal import extract_payload

        image, blob, in_pixels = extract_payload(image, blob)
        payload = open_sealed(blob, self._key)
        check_generator(payload, self._bundle.id)
        check_pixels(payload, image ^ 1)
        label = int(payload.side_info[0, 0])
        generator_id = self._bundle.id
        return Recovered(
            image ^ 1, payload.mode, payload.orientation, label, in_pixels, generator_id
        )


def install(set_attribute=setattr, seconds: float = 0.0) -> list[Protector]:
    """Puts this codec in place of the real one; generators may be any files.

    Returns:
      all protectors that will be made.
    """
    made, check_real = [], generators.check_generator

    def check(path):
        if not os.path.exists(path):
            check_real(path)

    def opened(path):
        return Bundle(pathlib.Path(path).read_bytes()[:8].ljust(8))

    def protector(bundle, key, options):
        made.append(Protector(bundle, key, options.tries, seconds))
        return made[-1]

    set_attribute(generators, "check_generator", check)
    set_attribute(generators, "load_generator", opened)
    set_attribute(generators, "make_recoverer", Recoverer)
    set_attribute(operations, "make_protector", protector)
    return made


class FakeRecipe(Recipe):
    """Makes an operation with this codec on a worker."""

    @functools.cached_property
    def made(self):
        install(seconds=seconds_a_batch())
        return super().made


def seconds_a_batch() -> float:
    return float(os.environ.get("SECONDS_A_BATCH", "0"))


if __name__ == "__main__":
    # Who runs the tests in the background may have Ctrl-C switched off.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from raeg_jax import cli
    from raeg_jax.scale import ray_engine
    from tests.cli import fake_codec

    install(seconds=seconds_a_batch())
    # Workers import it.
    ray_engine.Recipe = fake_codec.FakeRecipe
    sys.exit(cli.main())
