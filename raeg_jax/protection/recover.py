"""From protected pixels back to the original ones, or an error that says what is wrong."""

import concurrent.futures
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from raeg_jax.errors import UserError
from raeg_jax.payload import overflow
from raeg_jax.payload.errors import PayloadError, TamperedPixelsError
from raeg_jax.payload.key import Key, Token
from raeg_jax.payload.payload import MAX_SIDE, Payload, SourceMode, check_pixels, check_size
from raeg_jax.payload.seal import check_cipher, check_generator, extract_payload, open_sealed
from raeg_jax.protection import passes, tiles
from raeg_jax.protection.loaded_generator import LoadedGenerator

# Hides and finds payloads in several images at a time.
HIDING = concurrent.futures.ThreadPoolExecutor(os.cpu_count(), "raeg-hiding")


@dataclasses.dataclass(frozen=True, eq=False)
class Recovered:
    """An original, of the digest that its payload holds.

    Attributes:
      pixels: uint8 [H, W, 3].
      mode: of the original file.
      orientation: EXIF orientation of the original file, 1 to 8.
      label: the class that the generator was given, or None where it needs none.
      in_pixels: whether the payload was hidden in the pixels.
      generator_id: 8 bytes, of the generator that protected it, or of another method.
    """

    pixels: np.ndarray
    mode: SourceMode
    orientation: int
    label: int | None
    in_pixels: bool
    generator_id: bytes


@dataclasses.dataclass(frozen=True, eq=False)
class _Opened:
    """A protected image without the marks of hiding, and its payload."""

    pixels: np.ndarray
    payload: Payload
    in_pixels: bool


class Recoverer:
    """Recovers what a `Protector` with the same generator and key made.

    Args:
      generator: the generator.
      key: the owner's.
      batch_size: tiles at a time, for portable generators; others need the size that the payload
        names, as their results may depend on it.

    Raises:
      UserError: a generator that can't be undone exactly, or no cipher on this machine.
    """

    def __init__(self, generator: LoadedGenerator, key: Key, *, batch_size: int = 16):
        check_exact(generator)
        check_cipher()
        self._generator, self._key, self._batch_size = generator, key, batch_size

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """What images that can share batches commonly have in common, see `Protector.shape`."""
        side = tiles.default_side(self._generator.config)
        return passes.kind(self._generator.chain, height, width, side)

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
        for index, (image, _) in enumerate(zip(images, blobs, strict=True)):
            check_image(image, index)
        for index, one in enumerate(HIDING.map(self._try_to_open, images, blobs)):
            if isinstance(one, PayloadError):
                results[index] = one
            else:
                opened[index] = one
        for group in self._groups(opened):
            results |= self._recover_group({index: opened.pop(index) for index in group})
        return [results[index] for index in range(len(images))]

    def estimate(self, images: Sequence[np.ndarray], blobs: Sequence[bytes]) -> list[np.ndarray]:
        """Runs the generator backward on changed images whose payloads were kept.

        Args:
          images: uint8 [H, W, 3] each, of the size that they had; changed since, as by JPEG.
          blobs: the payload of each.

        Returns:
          uint8 [H, W, 3] each, near the originals; compared with no digest.

        Raises:
          UserError: something that isn't an image.
          PayloadError: a payload that isn't one, or of another key or generator, or image size.
        """
        opened = {}
        for index, (image, blob) in enumerate(zip(images, blobs, strict=True)):
            check_image(image, index)
            opened[index] = self._open(image, blob)
        estimates: dict[int, np.ndarray] = {}
        for group in self._groups(opened):
            # Which samples were clipped can't be told of changed ones.
            values = [opened[index].pixels for index in group]
            payloads = [opened[index].payload for index in group]
            estimates |= zip(group, self._invert(values, payloads), strict=True)
        return [estimates[index] for index in range(len(opened))]

    def _try_to_open(self, image: np.ndarray, blob: bytes | None) -> _Opened | PayloadError:
        try:
            return self._open(image, blob)
        except PayloadError as error:
            return _without_frames(error)

    def _open(self, image: np.ndarray, blob: bytes | None) -> _Opened:
        pixels, blob, in_pixels = extract_payload(image, blob)
        payload = open_sealed(blob, self._key)
        check_generator(payload, self._generator.id)
        passes.check_side_info(self._generator.chain, payload.side_info)
        check_size(payload, pixels)
        return _Opened(pixels, payload, in_pixels)

    def _groups(self, opened: Mapping[int, _Opened]) -> Iterator[list[int]]:
        """Yields the indices of images to be recovered at a time."""
        indices, payloads = list(opened), [each.payload for each in opened.values()]
        kinds = [
            (*passes.kind(self._generator.chain, p.height, p.width, p.tile), p.batch)
            for p in payloads
        ]
        for group in tiles.group_images(kinds, [p.height * p.width for p in payloads]):
            yield [indices[position] for position in group]

    def _recover_group(self, group: Mapping[int, _Opened]) -> dict[int, Recovered | PayloadError]:
        """Recovers images of one kind."""
        results: dict[int, Recovered | PayloadError] = {}
        values = {}
        for index, opened in group.items():
            try:
                values[index] = overflow.unclip(opened.pixels, opened.payload.overflow)
            except PayloadError as error:
                results[index] = _without_frames(error)
        if not values:
            return results
        originals = self._invert(list(values.values()), [group[index].payload for index in values])
        for index, pixels in zip(values, originals, strict=True):
            try:
                results[index] = self._checked(group[index], pixels)
            except PayloadError as error:
                results[index] = _without_frames(error)
        return results

    def _invert(self, values: list[np.ndarray], payloads: list[Payload]) -> list[np.ndarray]:
        """Runs the generator backward on values that share batches."""
        chain = self._generator.chain
        return passes.inverse(
            chain,
            values,
            [payload.side_info for payload in payloads],
            [Token(self._key.token_key, p.nonce, chain.token_planes) for p in payloads],
            [payload.tile for payload in payloads],
            payloads[0].batch or self._batch_size,
        )

    def _checked(self, opened: _Opened, pixels: np.ndarray) -> Recovered:
        payload = opened.payload
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
        names = passes.side_info_columns(self._generator.chain)
        label = (
            int(payload.side_info[0, names.index(passes.LABEL)]) if passes.LABEL in names else None
        )
        return Recovered(
            pixels,
            payload.mode,
            payload.orientation,
            label,
            opened.in_pixels,
            payload.generator_id,
        )


def check_exact(generator: LoadedGenerator) -> None:
    """Refuses generators of fractions, which rounding to 8 bits loses for good.

    Raises:
      UserError: a float coupling.
    """
    if not generator.chain.exact:
        coupling = generator.config.generator.coupling
        raise UserError(
            f"a generator with config.generator.coupling={coupling!r} can't be undone exactly: use "
            "one with 'integer' couplings, or without a learned stage"
        )


def check_image(image: np.ndarray, index: int) -> None:
    """Refuses what can't be protected or recovered.

    Raises:
      UserError: not uint8 [H, W, 3], or without pixels.
    """
    if not isinstance(image, np.ndarray):
        raise UserError(f"image {index} is {type(image).__name__}, not a NumPy array")
    sides = image.shape[:2]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in sides:
        raise UserError(
            f"image {index} is {image.dtype} {list(image.shape)}: convert it to uint8 [H, W, 3], "
            "RGB from 0 to 255"
        )
    if max(sides) > MAX_SIDE:
        raise UserError(
            f"image {index} has {sides[1]} x {sides[0]} pixels: sides have at most {MAX_SIDE}, "
            "split it first"
        )


def _without_frames(error: PayloadError) -> PayloadError:
    """Frees the images in the frames of an error that outlives them."""
    return error.with_traceback(None)
