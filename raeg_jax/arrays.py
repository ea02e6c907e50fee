"""Protecting and recovering arrays with one call: `raeg_jax.protect` and `raeg_jax.recover`."""

from collections.abc import Sequence

import numpy as np

from raeg_jax.codec.bundle import Bundle
from raeg_jax.codec.errors import PayloadError
from raeg_jax.codec.key import Key
from raeg_jax.codec.protect import Protected, Protector
from raeg_jax.codec.recover import Recovered, Recoverer


def protect(
    images: Sequence[np.ndarray],
    bundle: Bundle,
    key: Key,
    labels: Sequence[int | None] | None = None,
    *,
    batch_size: int = 16,
    tile: int | None = None,
    tries: int = 1,
) -> list[Protected]:
    """Protects images of any sizes.

    Args:
      images: uint8 [H, W, 3] each, RGB.
      bundle: the generator, as `load_bundle` of `raeg_jax.codec.bundle` reads it; its
        `default_bundle()` is the one that comes with the package.
      key: the owner's, as `raeg_jax.codec.key.read_key` reads it.
      labels: as for `Protector.protect`.
      batch_size: as for `Protector`.
      tile: as for `Protector`.
      tries: as for `Protector`.

    Raises:
      UserError: an impossible generator, image, label or number.
      UnrecoverableError: an image would not come back exactly.
    """
    protector = Protector(bundle, key, batch_size=batch_size, tile=tile, tries=tries)
    return protector.protect(images, labels)


def recover(
    images: Sequence[np.ndarray],
    bundle: Bundle,
    key: Key,
    blobs: Sequence[bytes | None] | None = None,
) -> list[Recovered]:
    """Recovers what `protect` made; `Recoverer` is for images of which some may be unrecoverable.

    Args:
      images: uint8 [H, W, 3] each, the pixels of `Protected`.
      bundle: the generator.
      key: the owner's.
      blobs: `Protected.blob` of each, or None where it is in the pixels.

    Raises:
      UserError: an impossible generator or image.
      PayloadError: of the first image that can't be recovered; subclasses say why.
    """
    recovered = Recoverer(bundle, key).recover(images, blobs)
    for index, found in enumerate(recovered):
        if isinstance(found, PayloadError):
            raise type(found)(f"image {index}: {found}")
    return recovered
