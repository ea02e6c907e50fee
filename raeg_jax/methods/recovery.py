"""Recovers originals from images that RAE or RIT protected; that takes the key alone.

Images of generators are recovered beside them: of one generator, or of all that come along.
"""

import collections
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from raeg_jax.methods.rae import RAE
from raeg_jax.methods.rit import RIT
from raeg_jax.methods.transform import Transform, transform_id
from raeg_jax.payload import overflow
from raeg_jax.payload.errors import (
    DamagedPayloadError,
    OtherGeneratorError,
    PayloadError,
)
from raeg_jax.payload.key import Key
from raeg_jax.payload.payload import Payload, check_pixels, check_size
from raeg_jax.payload.seal import Extracted, check_cipher, extract_payload, open_sealed
from raeg_jax.protection import shipped, tiles
from raeg_jax.protection.recover import Recovered, Recoverer, check_image
from raeg_jax.protection.restore import PixelRecoverer

TRANSFORMS: dict[str, type[Transform]] = {"rae": RAE, "rit": RIT}
# In pixels, of the tiles of learned stages that come with the package.
_LEAST_SIDE = 64
_BY_ID = {transform_id(name): transform for name, transform in TRANSFORMS.items()}


def recover(image: np.ndarray, key: Key, blob: bytes | None = None) -> Recovered:
    """Undoes what `TransformProtector` did.

    Args:
      image: uint8 [H, W, 3].
      key: the owner's.
      blob: the payload, where it was kept beside the pixels.

    Returns:
      The original, exactly; its label isn't known.

    Raises:
      UserError: something that isn't an image.
      PayloadError: subclasses say why there is no original.
    """
    check_image(image, 0)
    pixels, blob, in_pixels = extract_payload(image, blob)
    payload = _open(pixels, blob, key)
    values = overflow.unclip(pixels, payload.overflow).astype(np.int32)
    original = _invert(payload, values)
    check_pixels(payload, original)
    generator_id = payload.generator_id
    return Recovered(original, payload.mode, payload.orientation, None, in_pixels, generator_id)


def try_recover(image: np.ndarray, key: Key, blob: bytes | None = None) -> Recovered | PayloadError:
    """Recovers as `recover` does, and returns a PayloadError instead of raising it."""
    try:
        return recover(image, key, blob)
    except PayloadError as error:
        return error.with_traceback(None)


def estimate(image: np.ndarray, key: Key, blob: bytes) -> np.ndarray:
    """Inverts the transform on an image that was changed since, and whose payload was kept.

    Args:
      image: uint8 [H, W, 3], of the size that it had; changed since, as by JPEG.
      key: the owner's.
      blob: its payload.

    Returns:
      uint8 [H, W, 3], near the original and compared with no digest.

    Raises:
      UserError: something that isn't an image.
      PayloadError: as `recover`, and where the pixels are too different for the auxiliary data.
    """
    check_image(image, 0)
    pixels, blob, _ = extract_payload(image, blob)
    # Which samples were clipped can't be told of changed ones.
    return _invert(_open(pixels, blob, key), pixels.astype(np.int32))


def _open(pixels: np.ndarray, blob: bytes, key: Key) -> Payload:
    payload = open_sealed(blob, key)
    if payload.generator_id not in _BY_ID:
        raise OtherGeneratorError(
            f"protected by the generator {payload.generator_id.hex()}, and neither by "
            f"{' nor by '.join(name.upper() for name in TRANSFORMS)}: recover it with its generator"
        )
    check_size(payload, pixels)
    return payload


def _invert(payload: Payload, values: np.ndarray) -> np.ndarray:
    try:
        original = _BY_ID[payload.generator_id].invert(values, payload.auxiliary)
    except (ValueError, IndexError) as error:
        raise DamagedPayloadError(
            f"the payload's auxiliary data make no sense ({error}): take an untouched copy of the "
            "image"
        ) from error
    # Only an image that isn't the protected one gives values outside.
    return np.clip(original, 0, 255).astype(np.uint8)


class FallbackRecoverer:
    """Recovers images of a generator, and those of RAE and RIT, which need no generator.

    Args:
      recoverer: of the generator.
      key: the owner's.
    """

    def __init__(self, recoverer: Recoverer, key: Key):
        self._recoverer, self._key = recoverer, key
        self.shape = recoverer.shape

    def recover(
        self, images: Sequence[np.ndarray], blobs: Sequence[bytes | None]
    ) -> list[Recovered | PayloadError]:
        """As `protection.recover.Recoverer.recover`, same arguments and results."""
        results = self._recoverer.recover(images, blobs)
        for i, result in enumerate(results):
            if isinstance(result, OtherGeneratorError):
                again = try_recover(images[i], self._key, blobs[i])
                # The generator's error names the generator that was given.
                results[i] = result if isinstance(again, OtherGeneratorError) else again
        return results


class ShippedRecoverer:
    """Recovers images of generators that come with the package, and those of RAE and RIT.

    Args:
      key: the owner's.
      make: what recovers images of the generator of a name; called when the first one needs it.
    """

    def __init__(self, key: Key, make: Callable[[str], PixelRecoverer]):
        check_cipher()
        self._key, self._make = key, make
        self._recoverers: dict[str, PixelRecoverer] = {}

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """As `Recoverer.shape` of the smallest tiles; which ones an image has isn't known yet."""
        return tiles.tile_shape(height, width, _LEAST_SIDE)

    def recover(
        self, images: Sequence[np.ndarray], blobs: Sequence[bytes | None]
    ) -> list[Recovered | PayloadError]:
        """As `protection.recover.Recoverer.recover`, same arguments and results."""
        results: dict[int, Recovered | PayloadError] = {}
        found: dict[int, Extracted] = {}
        groups: dict[str, list[int]] = collections.defaultdict(list)
        for index, (image, blob) in enumerate(zip(images, blobs, strict=True)):
            check_image(image, index)
            try:
                found[index] = extract_payload(image, blob)
                name = self._generator_of(found[index].blob)
            except PayloadError as error:
                results[index] = error.with_traceback(None)
                continue
            if name:
                groups[name].append(index)
            else:
                results[index] = try_recover(image, self._key, blob)
        for name, indices in groups.items():
            if name not in self._recoverers:
                self._recoverers[name] = self._make(name)
            # Nothing is hidden any more: the payload goes along.
            unmarked = [found[index].pixels for index in indices]
            recovered = self._recoverers[name].recover(
                unmarked, [found[index].blob for index in indices]
            )
            for index, result in zip(indices, recovered, strict=True):
                results[index] = (
                    result
                    if isinstance(result, PayloadError)
                    else dataclasses.replace(result, in_pixels=found[index].in_pixels)
                )
        return [results[index] for index in range(len(images))]

    def _generator_of(self, blob: bytes) -> str | None:
        """The name of the generator that a payload needs; None for one of RAE and RIT."""
        generator_id = open_sealed(blob, self._key).generator_id
        name = shipped.name_of(generator_id)
        if name is None and generator_id not in _BY_ID:
            raise OtherGeneratorError(
                f"protected by the generator {generator_id.hex()}, and raeg-jax comes with "
                f"{shipped.names()} only: give the one that protected the image (--generator)"
            )
        return name
