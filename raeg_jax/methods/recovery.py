"""Recovers originals from images that RAE or RIT protected; that takes the key alone."""

from collections.abc import Sequence

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
from raeg_jax.payload.seal import extract_payload, open_sealed
from raeg_jax.protection.recover import Recovered, Recoverer, check_image

TRANSFORMS: dict[str, type[Transform]] = {"rae": RAE, "rit": RIT}
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
    original = _invert(payload, overflow.unclip(pixels, payload.overflow))
    check_pixels(payload, original)
    return Recovered(original, payload.mode, payload.orientation, None, in_pixels)


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
