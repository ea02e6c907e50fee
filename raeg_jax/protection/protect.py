"""From original pixels to protected ones that carry what brings the original back."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from raeg_jax import hiding
from raeg_jax.errors import UserError
from raeg_jax.image.metrics import file_mse, psnr_of_mse
from raeg_jax.networks.layers import MIN_SIDE
from raeg_jax.payload.key import Key, Token
from raeg_jax.payload.overflow import clip
from raeg_jax.payload.payload import MAX_BATCH, Payload, SourceMode, digest, draw_nonce
from raeg_jax.payload.seal import seal
from raeg_jax.protection import passes, tiles
from raeg_jax.protection.loaded_generator import LoadedGenerator
from raeg_jax.protection.predict import attack_losses, predict_labels
from raeg_jax.protection.recover import HIDING, Recovered, Recoverer, check_exact, check_image

# Lowest PSNR (dB) of the marked image against the unmarked one. Below 40 dB, hiding would cost a
# 34 dB image more than 1 dB. Only images with hardly any capacity come near.
MIN_MARKED_PSNR = 40.0


class UnrecoverableError(RuntimeError):
    """Protected images would not come back exactly, so they aren't given out: a fault of ours.

    Attributes:
      indices: of these images among those given.
    """

    def __init__(self, indices: Sequence[int], shape: Sequence[int]):
        numbers = ", ".join(map(str, indices))
        super().__init__(
            f"images {numbers} (the first has {shape[1]} x {shape[0]} pixels) don't come back "
            "exactly from what protecting made of them, so they aren't protected: please report it "
            "with the versions of raeg-jax and jax and the kind of machine"
        )
        self.indices = tuple(indices)


@dataclasses.dataclass(frozen=True, eq=False)
class Protected:
    """A protected image, which has been recovered once to be sure.

    Attributes:
      pixels: uint8 [H, W, 3].
      blob: the payload; where `in_pixels` is false it must be kept beside the pixels, which can't
        hold it, as `raeg_jax.save` does.
      in_pixels: whether the payload is hidden in the pixels.
      psnr: of the pixels against the original, in decibels; infinite where they are equal.
      label: the class that the generator was given; None where the owner gave none (or can't, see
        `Protector.protect`) and it needs none.
    """

    pixels: np.ndarray
    blob: bytes
    in_pixels: bool
    psnr: float
    label: int | None


class _Source(NamedTuple):
    """An image as the owner gives it."""

    image: np.ndarray
    label: int | None
    mode: SourceMode
    orientation: int


class _Attempt(NamedTuple):
    """What the generator makes of an image with one nonce: values and side information."""

    nonce: bytes
    values: np.ndarray
    table: np.ndarray


class Protector:
    """Protects images with one generator and key.

    Beside one batch it takes about 50 bytes a pixel of a large photograph, with all arrays given
    and returned. Programs are compiled for each shape of tiles: one for all images that are at
    least as large as a tile both ways.

    Args:
      generator: the generator.
      key: the owner's.
      batch_size: tiles at a time.
      tile: largest height and width, in pixels, of an image that is protected as a whole; larger
        ones are cut into squares of that side. By default `tiles.default_side`.
      tries: protect each image so many times, each time with another token, and keep what the
        generator's targets misread most.
      psnr: of protected images before their payload is hidden in them, in decibels, where the
        generator's last stage sees photographs; by default that of its settings.
      nonces: draws the nonce of an image, `NONCE_SIZE` bytes. Whoever gives another than the
        default, so that an experiment can be repeated, gives away images that share a nonce with
        others of the key.

    Raises:
      UserError: a generator that can't be undone exactly, or an impossible number.
    """

    def __init__(
        self,
        generator: LoadedGenerator,
        key: Key,
        *,
        batch_size: int = 16,
        tile: int | None = None,
        tries: int = 1,
        psnr: float | None = None,
        nonces: Callable[[], bytes] = draw_nonce,
    ):
        check_exact(generator)
        _check_tries(generator, tries)
        if not 1 <= batch_size <= MAX_BATCH:
            raise UserError(f"batch_size={batch_size} is impossible: it must be 1 to {MAX_BATCH}")
        default = tiles.default_side(generator.config)
        side = default if tile is None else tile
        if side < MIN_SIDE and (default or tile is not None):
            raise UserError(
                f"tile={side} is impossible: it must be {MIN_SIDE} at least, the least that "
                "classifiers take"
            )
        self._chain = generator.chain if psnr is None else generator.chain_of(psnr)
        batch_size = passes.at_a_time(self._chain, batch_size)
        self._generator, self._key, self._batch_size = generator, key, batch_size
        # Without stages of tiles there are none.
        self._tile = side if default else 0
        self._tries, self._nonces = tries, nonces
        self._recoverer = Recoverer(generator, key, batch_size=batch_size)

    @property
    def batch_size(self) -> int:
        """How many images to give at a time, where many are there."""
        return self._batch_size

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return self._generator.class_names

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """What images that can share batches have in common: height and width of their tiles."""
        return passes.kind(self._chain, height, width, self._tile)

    def protect(
        self,
        images: Sequence[np.ndarray],
        labels: Sequence[int | None] | None = None,
        modes: Sequence[SourceMode] | None = None,
        orientations: Sequence[int] | None = None,
    ) -> list[Protected]:
        """Protects images of any sizes; their tiles share batches where they have one shape.

        Args:
          images: uint8 [H, W, 3] each.
          labels: the class of each; for None a generator that needs one gets the class that the
            target classifiers predict, and so for all where targets have classes of their own
            (`LoadedGenerator.labels_are_readings`).
          modes: of the original files, for recovery; RGB by default.
          orientations: EXIF orientations of the original files, for recovery; 1 by default.

        Raises:
          UserError: something that isn't an image, or a label of no class.
          UnrecoverableError: an image would not come back exactly.
        """
        count = len(images)
        if labels is None or self._generator.labels_are_readings:
            labels = [None] * count
        modes = [SourceMode.RGB] * count if modes is None else modes
        orientations = [1] * count if orientations is None else orientations
        sources = [_Source(*each) for each in zip(images, labels, modes, orientations, strict=True)]
        for index, source in enumerate(sources):
            self._check(source, index)
        sizes = [source.image.shape[:2] for source in sources]
        kinds = [self.shape(*size) for size in sizes]
        results: dict[int, Protected] = {}
        for group in tiles.group_images(kinds, [height * width for height, width in sizes]):
            protected = self._protect_group([sources[index] for index in group])
            self._verify([sources[index].image for index in group], protected, group)
            results |= zip(group, protected, strict=True)
        return [results[index] for index in range(count)]

    def _check(self, source: _Source, index: int) -> None:
        check_image(source.image, index)
        if source.label is not None and not 0 <= source.label < len(self.classes):
            raise UserError(
                f"label {source.label} of image {index} is no class: "
                f"they are 0 to {len(self.classes) - 1}"
            )

    def _protect_group(self, sources: Sequence[_Source]) -> list[Protected]:
        """Protects images whose tiles have one shape."""
        images = [source.image for source in sources]
        labels = self._labels(sources)
        attempts = self._best(images, np.array([label or 0 for label in labels], np.int32))
        # Hiding is single-threaded, and takes as long as the network does on a few cores.
        return list(HIDING.map(self._finish, sources, labels, attempts))

    def _finish(self, source: _Source, label: int | None, attempt: _Attempt) -> Protected:
        """Seals the payload of an image and hides it, or leaves it beside the pixels."""
        height, width = source.image.shape[:2]
        pixels, overflow = clip(attempt.values)
        payload = Payload(
            nonce=attempt.nonce,
            generator_id=self._generator.id,
            height=height,
            width=width,
            sha256=digest(source.image),
            tile=tiles.payload_side(height, width, self._tile),
            batch=0 if self._generator.portable else self._batch_size,
            mode=source.mode,
            orientation=source.orientation,
            side_info=attempt.table,
            overflow=overflow,
        )
        blob = seal(payload, self._key)
        marked = _hide(pixels, blob)
        pixels = pixels if marked is None else marked
        psnr = psnr_of_mse(file_mse(pixels, source.image))
        return Protected(pixels, blob, marked is not None, psnr, label)

    def _best(self, images: Sequence[np.ndarray], labels: np.ndarray) -> list[_Attempt]:
        """Runs the generator, and again with other tokens if asked to; the best of these tries."""
        best = self._run(images, labels)
        if self._tries == 1:
            return best
        least = self._losses(best, labels)
        for _ in range(self._tries - 1):
            attempts = self._run(images, labels)
            losses = self._losses(attempts, labels)
            best = [attempts[i] if losses[i] < least[i] else best[i] for i in range(len(best))]
            least = np.minimum(losses, least)
        return best

    def _run(self, images: Sequence[np.ndarray], labels: np.ndarray) -> list[_Attempt]:
        chain = self._chain
        tokens = [Token(self._key.token_key, self._nonces(), chain.token_planes) for _ in images]
        sides = [tiles.payload_side(x.shape[0], x.shape[1], self._tile) for x in images]
        passed = passes.forward(chain, images, labels, tokens, sides, self._batch_size)
        return [_Attempt(token.nonce, *each) for token, *each in zip(tokens, *passed, strict=True)]

    def _losses(self, attempts: Sequence[_Attempt], labels: np.ndarray) -> np.ndarray:
        images = [clip(attempt.values)[0] for attempt in attempts]
        return attack_losses(self._generator, images, labels, self._batch_size)

    def _labels(self, sources: Sequence[_Source]) -> list[int | None]:
        """The classes for the generator, predicted where the owner gives none and one is needed."""
        labels = [None if source.label is None else int(source.label) for source in sources]
        unknown = [index for index, label in enumerate(labels) if label is None]
        needed = self._tries > 1 or passes.LABEL in passes.side_info_columns(self._generator.chain)
        if unknown and needed:
            images = [sources[index].image for index in unknown]
            predicted = predict_labels(self._generator, images, self._batch_size)
            for index, label in zip(unknown, predicted.tolist(), strict=True):
                labels[index] = label
        return labels

    def _verify(
        self,
        originals: Sequence[np.ndarray],
        protected: Sequence[Protected],
        indices: Sequence[int],
    ) -> None:
        """Recovers what would be given out, with the programs that recovery will use."""
        blobs = [None if each.in_pixels else each.blob for each in protected]
        recovered = self._recoverer.recover([each.pixels for each in protected], blobs)
        wrong = [
            (index, original.shape)
            for index, original, result in zip(indices, originals, recovered, strict=True)
            if not (isinstance(result, Recovered) and np.array_equal(result.pixels, original))
        ]
        if wrong:
            raise UnrecoverableError([index for index, _ in wrong], wrong[0][1])


def _check_tries(generator: LoadedGenerator, tries: int) -> None:
    """Makes sure that protecting an image several times makes sense.

    Raises:
      UserError: a number below 1, or more than one try with a generator that gives the same each
        time, or that has no classifiers to choose by.
    """
    if tries < 1:
        raise UserError(f"tries={tries} is impossible: it must be 1 or more")
    if tries == 1:
        return
    if not generator.chain.token_planes:
        raise UserError(
            f"tries={tries} needs a generator with a secret token, and this one has no token "
            "planes, so each try would be the same: use 1"
        )
    for name in generator.config.classifiers.targets:
        if name not in generator.classifiers:
            raise UserError(
                f"tries={tries} needs classifiers to choose by, and the generator file lacks "
                f"{name}: export it with `--classifier {name}`, or use 1"
            )


def _hide(image: np.ndarray, blob: bytes) -> np.ndarray | None:
    """Marks an image, or returns None where it can't hold the payload or would lose too much."""
    try:
        marked = hiding.embed(image, blob)
    except hiding.CapacityError:
        return None
    return marked if psnr_of_mse(file_mse(marked, image)) >= MIN_MARKED_PSNR else None
