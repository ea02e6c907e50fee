"""From an image that RAE or RIT protected back to its original: the key is all that it takes."""

import numpy as np

from raeg_jax.baselines.ids import method_id
from raeg_jax.baselines.rae import RAE
from raeg_jax.baselines.rit import RIT
from raeg_jax.payload import overflow
from raeg_jax.payload.errors import DamagedPayloadError, OtherGeneratorError, TamperedPixelsError
from raeg_jax.payload.extraction import extract_payload
from raeg_jax.payload.key import Key
from raeg_jax.payload.payload import Payload, check_pixels
from raeg_jax.payload.seal import open_sealed
from raeg_jax.protection.recover import Recovered, check_image

METHODS = {method.name: method for method in (RAE, RIT)}
_BY_ID = {method_id(name): method for name, method in METHODS.items()}


def recover(image: np.ndarray, key: Key, blob: bytes | None = None) -> Recovered:
    """Undoes what `BaselineProtector` did.

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
    original = _reveal(payload, overflow.unclip(pixels, payload.overflow))
    check_pixels(payload, original)
    return Recovered(original, payload.mode, payload.orientation, None, in_pixels)


def estimate(image: np.ndarray, key: Key, blob: bytes) -> np.ndarray:
    """What a changed image gives whose payload was kept: something near the original.

    Args:
      image: uint8 [H, W, 3], of the size that it had; changed since, as by JPEG.
      key: the owner's.
      blob: its payload.

    Returns:
      uint8 [H, W, 3], compared with no digest.

    Raises:
      UserError: something that isn't an image.
      PayloadError: as `recover`, and where the pixels are too different for the auxiliary data.
    """
    check_image(image, 0)
    pixels, blob, _ = extract_payload(image, blob)
    # Which samples were clipped can't be told of changed ones.
    return _reveal(_open(pixels, blob, key), pixels.astype(np.int32))


def _open(pixels: np.ndarray, blob: bytes, key: Key) -> Payload:
    payload = open_sealed(blob, key)
    if payload.generator_id not in _BY_ID:
        raise OtherGeneratorError(
            f"protected by the generator {payload.generator_id.hex()}, and neither by "
            f"{' nor by '.join(name.upper() for name in METHODS)}: recover it with its generator"
        )
    if pixels.shape[:2] != (payload.height, payload.width):
        raise TamperedPixelsError(
            f"the image has {pixels.shape[1]} x {pixels.shape[0]} pixels and had "
            f"{payload.width} x {payload.height} when it was protected: take an untouched copy"
        )
    return payload


def _reveal(payload: Payload, values: np.ndarray) -> np.ndarray:
    try:
        original = _BY_ID[payload.generator_id].reveal(values, payload.auxiliary)
    except (ValueError, IndexError) as error:
        raise DamagedPayloadError(
            f"the payload's auxiliary data make no sense ({error}): take an untouched copy of the "
            "image"
        ) from error
    # Only an image that isn't the protected one gives values outside.
    return np.clip(original, 0, 255).astype(np.uint8)
