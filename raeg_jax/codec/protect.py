"""From original pixels to protected ones that carry what brings the original back."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from raeg_jax import hiding
from raeg_jax.codec import choosing, passes, tiles
from raeg_jax.codec.bundle import Bundle
from raeg_jax.codec.inputs import check_exact, check_image
from raeg_jax.codec.reading import read_labels
from raeg_jax.codec.recover import Recovered, Recoverer
from raeg_jax.errors import UserError
from raeg_jax.image.metrics import file_mse, psnr_of_mse
from raeg_jax.networks.layers import MIN_SIDE
from raeg_jax.payload import side_info
from raeg_jax.payload.key import Key
from raeg_jax.payload.overflow import clip
from raeg_jax.payload.payload import MAX_BATCH, Payload, SourceMode, digest, draw_nonce
from raeg_jax.payload.seal import seal
from raeg_jax.payload.token import Token

# What hiding may do to an image, in decibels: a stronger mark would take more than one from the 34
# that generators commonly leave. Only images with hardly any room come near.
LEAST_MARKED_PSNR = 40.0


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
      blob: the payload; where `in_pixels` is false it must be kept beside the pixels, which have no
        room for it, as `raeg_jax.save` does.
      in_pixels: whether the payload is hidden in the pixels.
      psnr: of the pixels against the original, in decibels; infinite where they are equal.
      label: the class that the generator was told; None where none was given and it needs none.
    """

    pixels: np.ndarray
    blob: bytes
    in_pixels: bool
    psnr: float
    label: int | None


class _Source(NamedTuple):
    """What a user gives."""

    image: np.ndarray
    label: int | None
    mode: SourceMode
    orientation: int


class _Made(NamedTuple):
    """What the generator makes of an image with one nonce: values and codes."""

    nonce: bytes
    values: np.ndarray
    table: np.ndarray


class Protector:
    """Protects images with one generator and key.

    Beside one batch it takes about 50 bytes a pixel of a large photograph, with all arrays given
    and returned. Programs are compiled for each shape of tiles: one for all images that are at
    least as large as a tile both ways.

    Args:
      bundle: the generator.
      key: the owner's.
      batch_size: tiles at a time.
      tile: largest height and width, in pixels, of an image that is protected as a whole; larger
        ones are cut into squares of that side. By default `tiles.default_side`.
      tries: protect each image so many times, each time with another token, and keep what the
        generator's targets misread most.
      nonces: draws the nonce of an image, `NONCE_SIZE` bytes. Whoever gives another than the
        default, so that an experiment can be repeated, gives away images that share a nonce with
        others of the key.

    Raises:
      UserError: a generator that can't be undone exactly, or an impossible number.
    """

    def __init__(
        self,
        bundle: Bundle,
        key: Key,
        *,
        batch_size: int = 16,
        tile: int | None = None,
        tries: int = 1,
        nonces: Callable[[], bytes] = draw_nonce,
    ):
        check_exact(bundle)
        choosing.check_tries(bundle, tries)
        if not 1 <= batch_size <= MAX_BATCH:
            raise UserError(f"batch_size={batch_size} is impossible: it must be 1 to {MAX_BATCH}")
        tile = tiles.default_side(bundle.config) if tile is None else tile
        if tile < MIN_SIDE:
            raise UserError(
                f"tile={tile} is impossible: it must be {MIN_SIDE} at least, the least that "
                "classifiers take"
            )
        self._bundle, self._key, self._batch_size, self._tile = bundle, key, batch_size, tile
        self._tries, self._nonces = tries, nonces
        self._recoverer = Recoverer(bundle, key, batch_size=batch_size)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return self._bundle.class_names

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """What images that can share batches have in common: height and width of their tiles."""
        return tiles.shape(height, width, self._tile)

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
          labels: the class of each; for None a generator that needs one is told what the target
            classifiers read.
          modes: of the original files, for recovery; RGB by default.
          orientations: EXIF orientations of the original files, for recovery; 1 by default.

        Raises:
          UserError: something that isn't an image, or a label of no class.
          UnrecoverableError: an image would not come back exactly.
        """
        count = len(images)
        labels = [None] * count if labels is None else labels
        modes = [SourceMode.RGB] * count if modes is None else modes
        orientations = [1] * count if orientations is None else orientations
        sources = [_Source(*each) for each in zip(images, labels, modes, orientations, strict=True)]
        for index, source in enumerate(sources):
            self._check(source, index)
        result: dict[int, Protected] = {}
        for lot in self._lots(sources):
            protected = self._protect_lot([sources[index] for index in lot])
            self._recover_again([sources[index].image for index in lot], protected, lot)
            result |= zip(lot, protected, strict=True)
        return [result[index] for index in range(count)]

    def _check(self, source: _Source, index: int) -> None:
        check_image(source.image, index)
        if source.label is not None and not 0 <= source.label < len(self.classes):
            raise UserError(
                f"label {source.label} of image {index} is no class: "
                f"they are 0 to {len(self.classes) - 1}"
            )

    def _lots(self, sources: list[_Source]) -> Iterator[list[int]]:
        """Images to be worked on at a time, whose tiles have one shape."""
        sizes = [source.image.shape[:2] for source in sources]
        kinds = [tiles.shape(*size, self._tile) for size in sizes]
        yield from tiles.lots(kinds, [height * width for height, width in sizes])

    def _protect_lot(self, sources: list[_Source]) -> list[Protected]:
        images = [source.image for source in sources]
        labels = self._labels(sources)
        told = np.array([label or 0 for label in labels], np.int32)
        made = self._best(images, told)
        result = []
        for source, label, (nonce, own_values, table) in zip(sources, labels, made, strict=True):
            height, width = source.image.shape[:2]
            pixels, clipped = clip(own_values)
            payload = Payload(
                nonce=nonce,
                generator_id=self._bundle.id,
                height=height,
                width=width,
                sha256=digest(source.image),
                tile=tiles.side_for(height, width, self._tile),
                batch=0 if self._bundle.portable else self._batch_size,
                mode=source.mode,
                orientation=source.orientation,
                side_info=table,
                overflow=clipped,
            )
            blob = seal(payload, self._key)
            marked = _hide(pixels, blob)
            pixels = pixels if marked is None else marked
            psnr = psnr_of_mse(file_mse(pixels, source.image))
            result.append(Protected(pixels, blob, marked is not None, psnr, label))
        return result

    def _best(self, images: list[np.ndarray], labels: np.ndarray) -> list[_Made]:
        """Runs the generator, and again with other tokens if asked to; keeps the best."""
        best = self._run(images, labels)
        if self._tries == 1:
            return best
        least = self._losses(best, labels)
        for _ in range(self._tries - 1):
            made = self._run(images, labels)
            found = self._losses(made, labels)
            best = [made[i] if found[i] < least[i] else best[i] for i in range(len(best))]
            least = np.minimum(found, least)
        return best

    def _run(self, images: list[np.ndarray], labels: np.ndarray) -> list[_Made]:
        chain = self._bundle.chain
        tokens = [Token(self._key.token_key, self._nonces(), chain.token_planes) for _ in images]
        sides = [tiles.side_for(*image.shape[:2], self._tile) for image in images]
        found = passes.forward(chain, images, labels, tokens, sides, self._batch_size)
        return [_Made(token.nonce, *one) for token, *one in zip(tokens, *found, strict=True)]

    def _losses(self, made: list[_Made], labels: np.ndarray) -> np.ndarray:
        images = [clip(one.values)[0] for one in made]
        return choosing.losses(self._bundle, images, labels, self._batch_size)

    def _labels(self, sources: list[_Source]) -> list[int | None]:
        """What the generator is told, read from the image where the owner doesn't say."""
        labels = [None if source.label is None else int(source.label) for source in sources]
        unknown = [index for index, label in enumerate(labels) if label is None]
        needed = self._tries > 1 or side_info.LABEL in side_info.columns(self._bundle.chain)
        if unknown and needed:
            images = [sources[index].image for index in unknown]
            found = read_labels(self._bundle, images, self._batch_size)
            for index, label in zip(unknown, found.tolist(), strict=True):
                labels[index] = label
        return labels

    def _recover_again(self, originals, protected, indices):
        """Recovers what would be given out, with the programs that recovery will use."""
        blobs = [None if one.in_pixels else one.blob for one in protected]
        recovered = self._recoverer.recover([one.pixels for one in protected], blobs)
        wrong = [
            index
            for index, original, found in zip(indices, originals, recovered, strict=True)
            if not (isinstance(found, Recovered) and np.array_equal(found.pixels, original))
        ]
        if wrong:
            raise UnrecoverableError(wrong, originals[indices.index(wrong[0])].shape)


def _hide(image: np.ndarray, blob: bytes) -> np.ndarray | None:
    """Marks an image, or returns None where it has no room or would lose too much."""
    try:
        marked = hiding.embed(image, blob)
    except hiding.CapacityError:
        return None
    return marked if psnr_of_mse(file_mse(marked, image)) >= LEAST_MARKED_PSNR else None
