"""From protected pixels back to the original ones, or an error that says what is wrong."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from raeg_jax.codec import passes, tiles
from raeg_jax.codec.bundle import Bundle
from raeg_jax.codec.inputs import check_exact, check_image
from raeg_jax.payload import overflow, side_info
from raeg_jax.payload.errors import PayloadError, TamperedPixelsError
from raeg_jax.payload.extraction import extract_payload
from raeg_jax.payload.key import Key
from raeg_jax.payload.payload import Payload, SourceMode, check_pixels
from raeg_jax.payload.seal import check_cipher, check_generator, open_sealed
from raeg_jax.payload.token import Token


@dataclasses.dataclass(frozen=True, eq=False)
class Recovered:
    """An original, of the digest that its payload holds.

    Attributes:
      pixels: uint8 [H, W, 3].
      mode: of the original file.
      orientation: EXIF orientation of the original file, 1 to 8.
      label: the class that the generator was told, or None where it needs none.
      in_pixels: whether the payload was hidden in the pixels.
    """

    pixels: np.ndarray
    mode: SourceMode
    orientation: int
    label: int | None
    in_pixels: bool


@dataclasses.dataclass(frozen=True, eq=False)
class _Opened:
    """A protected image without the marks of hiding, and its payload."""

    pixels: np.ndarray
    payload: Payload
    in_pixels: bool

    @property
    def kind(self):
        """Images that agree in this can share batches."""
        payload = self.payload
        return *tiles.shape(payload.height, payload.width, payload.tile), payload.batch


class Recoverer:
    """Recovers what a `Protector` with the same generator and key made.

    Args:
      bundle: the generator.
      key: the owner's.
      batch_size: tiles at a time, for portable generators; others need the size that the payload
        names, as their results may depend on it.

    Raises:
      UserError: a generator that can't be undone exactly, or no cipher on this machine.
    """

    def __init__(self, bundle: Bundle, key: Key, *, batch_size: int = 16):
        check_exact(bundle)
        check_cipher()
        self._bundle, self._key, self._batch_size = bundle, key, batch_size

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """What images that can share batches commonly have in common, see `Protector.shape`."""
        return tiles.shape(height, width, tiles.default_side(self._bundle.config))

    def recover(
        self, images: Sequence[np.ndarray], blobs: Sequence[bytes | None] | None = None
    ) -> list[Recovered | PayloadError]:
        """Recovers images of any sizes; tiles of one shape share batches.

        Args:
          images: uint8 [H, W, 3] each.
          blobs: the payload that was kept beside each image, or None where it is in the pixels.

        Returns:
          For each image its original, or the error that says why there is none.

        Raises:
          UserError: something that isn't an image.
        """
        blobs = [None] * len(images) if blobs is None else blobs
        results: dict[int, Recovered | PayloadError] = {}
        opened = {}
        for index, (image, blob) in enumerate(zip(images, blobs, strict=True)):
            check_image(image, index)
            try:
                opened[index] = self._open(image, blob)
            except PayloadError as error:
                results[index] = _without_frames(error)
        for lot in self._lots(opened):
            results |= self._recover_lot({index: opened.pop(index) for index in lot})
        return [results[index] for index in range(len(images))]

    def estimate(self, images: Sequence[np.ndarray], blobs: Sequence[bytes]) -> list[np.ndarray]:
        """What the generator makes of changed images whose payloads were kept: near the originals.

        Args:
          images: uint8 [H, W, 3] each, of the size that they had; changed since, as by JPEG.
          blobs: the payload of each.

        Returns:
          uint8 [H, W, 3] each, compared with no digest.

        Raises:
          UserError: something that isn't an image.
          PayloadError: a payload that isn't one, or of another key or generator, or image size.
        """
        opened = {}
        for index, (image, blob) in enumerate(zip(images, blobs, strict=True)):
            check_image(image, index)
            opened[index] = self._open(image, blob)
        found: dict[int, np.ndarray] = {}
        for lot in self._lots(opened):
            # Which samples were clipped can't be told of changed ones.
            values = [opened[index].pixels.astype(np.int32) for index in lot]
            payloads = [opened[index].payload for index in lot]
            found |= zip(lot, self._undone(values, payloads), strict=True)
        return [found[index] for index in range(len(opened))]

    def _open(self, image: np.ndarray, blob: bytes | None) -> _Opened:
        pixels, blob, in_pixels = extract_payload(image, blob)
        payload = open_sealed(blob, self._key)
        check_generator(payload, self._bundle.id)
        side_info.check_columns(self._bundle.chain, payload.side_info)
        if pixels.shape[:2] != (payload.height, payload.width):
            raise TamperedPixelsError(
                f"the image has {pixels.shape[1]} x {pixels.shape[0]} pixels and had "
                f"{payload.width} x {payload.height} when it was protected: take an untouched copy"
            )
        return _Opened(pixels, payload, in_pixels)

    def _lots(self, opened: dict[int, _Opened]) -> Iterator[list[int]]:
        """Images to be worked on at a time."""
        indices, images = list(opened), opened.values()
        pixels = [one.payload.height * one.payload.width for one in images]
        for lot in tiles.lots([one.kind for one in images], pixels):
            yield [indices[place] for place in lot]

    def _recover_lot(self, lot: dict[int, _Opened]) -> dict[int, Recovered | PayloadError]:
        """Recovers images of one kind."""
        results, values = {}, {}
        for index, one in lot.items():
            try:
                values[index] = overflow.unclip(one.pixels, one.payload.overflow)
            except PayloadError as error:
                results[index] = _without_frames(error)
        if not values:
            return results
        originals = self._undone(list(values.values()), [lot[index].payload for index in values])
        for index, pixels in zip(values, originals, strict=True):
            try:
                results[index] = self._checked(lot[index], pixels)
            except PayloadError as error:
                results[index] = _without_frames(error)
        return results

    def _undone(self, values: list[np.ndarray], payloads: list[Payload]) -> list[np.ndarray]:
        """Runs the generator backward on values that share batches."""
        chain = self._bundle.chain
        return passes.inverse(
            chain,
            values,
            [payload.side_info for payload in payloads],
            [Token(self._key.token_key, p.nonce, chain.token_planes) for p in payloads],
            [payload.tile for payload in payloads],
            payloads[0].batch or self._batch_size,
        )

    def _checked(self, one: _Opened, pixels: np.ndarray) -> Recovered:
        payload = one.payload
        try:
            check_pixels(payload, pixels)
        except TamperedPixelsError:
            if payload.portable:
                raise
            raise TamperedPixelsError(
                "the recovered pixels aren't the original's: the protected image has been changed, "
                "or this machine computes otherwise than the one that protected it, as this "
                "generator isn't portable: take an untouched copy, or recover it there"
            ) from None
        names = side_info.columns(self._bundle.chain)
        label = (
            int(payload.side_info[0, names.index(side_info.LABEL)])
            if side_info.LABEL in names
            else None
        )
        return Recovered(pixels, payload.mode, payload.orientation, label, one.in_pixels)


def _without_frames(error: PayloadError) -> PayloadError:
    """Frees the images in the frames of an error that is kept."""
    return error.with_traceback(None)
