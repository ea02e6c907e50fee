"""How an evaluation protects a batch of images with a generator, and undoes it.

`FileProtector` does it as `raeg protect` and `raeg recover` do, payload inside. `PixelProtector` is
the generator alone: for float couplings, which no payload makes exact, and where an experiment is
about pixels.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax.evaluation import programs
from raeg_jax.generator.chain import Chain, LearnedStage
from raeg_jax.generator.gradient_coupling import SideInfo
from raeg_jax.generator.learned_pattern import LearnedPattern, Place, whole
from raeg_jax.image_file.read import ImageFile, decode_image_file
from raeg_jax.image_file.write import png_bytes
from raeg_jax.networks.classifiers import FrozenClassifier, LogitsFn
from raeg_jax.payload.key import Key, Token, draw_planes
from raeg_jax.payload.overflow import clip
from raeg_jax.payload.payload import NONCE_SIZE, Payload
from raeg_jax.payload.seal import extract_payload, open_sealed
from raeg_jax.protection import passes
from raeg_jax.protection.loaded_generator import LoadedGenerator
from raeg_jax.protection.protect import Protected, Protector
from raeg_jax.protection.recover import Recovered, Recoverer

# Not secret: nobody's images are protected with them.
RIGHT_KEY, WRONG_KEY = b"raeg evaluation: the right key", b"raeg evaluation: a wrong key"


def draw_token(
    generator: Chain, numbers: np.ndarray, height: int, width: int, key: bytes = RIGHT_KEY
) -> np.ndarray | None:
    """Draws a token for each image.

    Args:
      generator: says how many planes P.
      numbers: int [B], the images' numbers in their split, which stand for nonces.
      height: of the images, in pixels.
      width: of the images, in pixels.
      key: `RIGHT_KEY`, `WRONG_KEY` or any other bytes.

    Returns:
      int8 [B, height, width, P]; None where P is 0.
    """
    if not generator.token_planes:
        return None
    nonces = [nonce_of(number) for number in numbers]
    return np.stack(
        [draw_planes(key, nonce, height, width, generator.token_planes) for nonce in nonces]
    )


def draw_place(
    generator: Chain, numbers: np.ndarray, height: int, width: int, key: bytes = RIGHT_KEY
) -> Place | None:
    """The place of whole images, with what each draws, as for `draw_token`.

    Returns:
      None where the generator needs none.
    """
    if not generator.placed:
        return None
    draws = np.array([Token(key, nonce_of(number), 0).draw for number in numbers], np.int32)
    return whole(len(draws), height, width, draws)


def nonce_of(number: int) -> bytes:
    """The nonce of the image with this number in its split."""
    return int(number).to_bytes(NONCE_SIZE, "little")


def key_of(seed: int, purpose: str) -> Key:
    """The key of an experiment, which is no secret.

    Args:
      seed: of the run.
      purpose: keys for different purposes have nothing in common.
    """
    return Key(hashlib.sha256(f"raeg {purpose} {seed}".encode()).digest())


@dataclasses.dataclass(frozen=True, eq=False)
class ProtectedBatch:
    """A batch of protected images, read back from their files.

    Attributes:
      images: uint8 [B, H, W, 3].
      sizes: int [B], bytes of each file.
      measured: arrays [B] by name: `outside`, the share of samples outside 0..255 before clipping;
        `code/rounds` of the last shortcut or gradient stage, if there is one; of a `FileProtector`
        also `payload/bytes` and `payload/in_pixels`.
      undo: what the same protector needs to undo them.
    """

    images: np.ndarray
    sizes: np.ndarray
    measured: dict[str, np.ndarray]
    undo: Any


class PixelProtector:
    """A generator alone: side information is kept in memory, clipped values are lost.

    Args:
      chain: the generator.
      targets: the attacked classifiers; published ones say the classes to lead away from.
    """

    has_payload = False

    def __init__(self, chain: Chain, targets: Sequence[LogitsFn] = ()):
        self.chain = programs.on_one_device(chain)
        self._targets = programs.on_one_device(tuple(targets))

    def protect(self, index: np.ndarray, images: np.ndarray, labels: np.ndarray) -> ProtectedBatch:
        """Protects a batch.

        Args:
          index: int [B], numbers of the images, on which their tokens depend.
          images: uint8 [B, H, W, 3].
          labels: int32 [B].
        """
        protected, outside, side_info = self._run(self.chain, index, images, labels)
        files, sizes = programs.png_roundtrip(np.asarray(protected))
        measured = {"outside": np.asarray(outside)}
        if rounds := [each.rounds for each in side_info if isinstance(each, SideInfo)]:
            measured["code/rounds"] = np.asarray(rounds[-1])
        return ProtectedBatch(files, sizes, measured, (index, side_info))

    def first_stages(
        self, count: int, batch: ProtectedBatch, images: np.ndarray, labels: np.ndarray
    ) -> np.ndarray:
        """What the first stages alone make of a batch: uint8 [B, H, W, 3].

        Args:
          count: of stages.
          batch: what `protect` made of all stages.
          images: as for `protect`.
          labels: as for `protect`.
        """
        first = Chain(self.chain.stages[:count])
        return np.asarray(self._run(first, batch.undo[0], images, labels)[0])

    def recover(self, batch: ProtectedBatch) -> np.ndarray:
        """Recovers what `protect` made: uint8 [B, H, W, 3]."""
        return self.recover_from_pixels(batch)

    def recover_from_pixels(self, batch: ProtectedBatch, wrong_key: bool = False) -> np.ndarray:
        """Runs the generator backward on the files' pixels: uint8 [B, H, W, 3].

        Args:
          batch: what `protect` made.
          wrong_key: with another key's token, though with the right side information.
        """
        index, side_info = batch.undo
        height, width = batch.images.shape[1:3]
        key = WRONG_KEY if wrong_key else RIGHT_KEY
        token = draw_token(self.chain, index, height, width, key)
        place = draw_place(self.chain, index, height, width, key)
        return np.asarray(programs.recover(self.chain, batch.images, side_info, token, place))

    def _run(self, chain, index, images, labels):
        token = draw_token(self.chain, index, *images.shape[1:3])
        place = draw_place(self.chain, index, *images.shape[1:3])
        labels = programs.labels_of_attack(self._targets, images, labels)
        return programs.protect(chain, images, labels, token, place)


class FileProtector:
    """A generator with payloads in its files; methods are those of `PixelProtector`.

    Key and nonces are no secret, so that runs can be repeated.

    Args:
      generator: the generator, an exact one.
      seed: of the keys.
      batch_size: images at a time.
    """

    has_payload = True

    def __init__(self, generator: LoadedGenerator, seed: int, batch_size: int):
        self.chain, self._batch_size = generator.chain, batch_size
        self._key, self._wrong_key = key_of(seed, "evaluation"), key_of(seed, "wrong")
        self._numbers: Iterator[int] = iter(())
        self._protector = Protector(
            generator,
            self._key,
            batch_size=batch_size,
            nonces=lambda: nonce_of(next(self._numbers)),
        )
        self._recoverer = Recoverer(generator, self._key, batch_size=batch_size)

    def protect(self, index: np.ndarray, images: np.ndarray, labels: np.ndarray) -> ProtectedBatch:
        """As `raeg protect` does, in memory.

        Raises:
          DivergedError: values too far outside 0..255.
        """
        self._numbers = iter(index)
        protected = self._protector.protect(list(images), labels.tolist())
        files = [_png(one) for one in protected]
        opened = [_Opened.read(file, self._key) for file in files]
        payloads = [one.payload for one in opened]
        measured: dict[str, Any] = {
            "outside": [len(payload.overflow.ranks) / images[0].size for payload in payloads],
            "payload/bytes": [len(one.blob) for one in protected],
            "payload/in_pixels": [one.in_pixels for one in protected],
        }
        if "rounds" in (columns := passes.side_info_columns(self.chain)):
            last = len(columns) - 1 - columns[::-1].index("rounds")
            measured["code/rounds"] = [payload.side_info[:, last].max() for payload in payloads]
        return ProtectedBatch(
            images=np.stack([one.picture.pixels for one in opened]),
            sizes=np.array([len(file) for file in files], np.int64),
            measured={name: np.array(values) for name, values in measured.items()},
            undo=opened,
        )

    def first_stages(
        self, count: int, batch: ProtectedBatch, images: np.ndarray, labels: np.ndarray
    ) -> np.ndarray:
        """What the first stages alone make of a batch, without a payload."""
        first, payloads = Chain(self.chain.stages[:count]), [one.payload for one in batch.undo]
        columns = passes.side_info_columns(self.chain)
        if passes.LABEL in columns:
            # Published targets name the classes without the owner.
            at = columns.index(passes.LABEL)
            labels = np.array([payload.side_info[0, at] for payload in payloads], np.int32)
        all_values, _ = passes.forward(
            first,
            list(images),
            labels,
            self._tokens(payloads, self._key),
            *self._tiling(payloads),
        )
        return np.stack([clip(values)[0] for values in all_values])

    def recover(self, batch: ProtectedBatch) -> np.ndarray:
        """As `raeg recover` does."""
        chunks = [one.picture.payload_chunk for one in batch.undo]
        results = self._recoverer.recover(list(batch.images), chunks)
        originals = []
        for result in results:
            if not isinstance(result, Recovered):
                raise result
            originals.append(result.pixels)
        return np.stack(originals)

    def recover_from_pixels(self, batch: ProtectedBatch, wrong_key: bool = False) -> np.ndarray:
        """Of a payload only the side information is used, not the clipped values."""
        key = self._wrong_key if wrong_key else self._key
        payloads = [one.payload for one in batch.undo]
        recovered = passes.inverse(
            self.chain,
            [one.unmarked for one in batch.undo],
            [payload.side_info for payload in payloads],
            self._tokens(payloads, key),
            *self._tiling(payloads),
        )
        return np.stack(recovered)

    def _tokens(self, payloads: Sequence[Payload], key: Key) -> list[Token]:
        planes, token_key = self.chain.token_planes, key.token_key
        return [Token(token_key, payload.nonce, planes) for payload in payloads]

    def _tiling(self, payloads: Sequence[Payload]) -> tuple[list[int], int]:
        """Sides of tiles, and the batch size."""
        return [payload.tile for payload in payloads], self._batch_size


@dataclasses.dataclass(frozen=True, eq=False)
class _Opened:
    """What is in a file: the picture, its pixels without the marks of hiding, and the payload."""

    picture: ImageFile
    unmarked: np.ndarray
    payload: Payload

    @classmethod
    def read(cls, file: bytes, key: Key) -> "_Opened":
        picture = decode_image_file(file, "the protected file")
        extracted = extract_payload(picture.pixels, picture.payload_chunk)
        return cls(picture, extracted.pixels, open_sealed(extracted.blob, key))


def _png(one: Protected) -> bytes:
    return png_bytes(ImageFile(one.pixels), payload_chunk=None if one.in_pixels else one.blob)


def protector_of(
    config: ConfigDict,
    class_names: Sequence[str],
    generator: Chain,
    classifiers: Mapping[str, tuple[nn.Module, Any]],
    batch_size: int,
) -> FileProtector | PixelProtector:
    """Protects as users do, if the generator is exact.

    Args:
      config: the whole configuration.
      class_names: of the data set.
      generator: its stages.
      classifiers: (module, variables) of the targets at least by name.
      batch_size: images at a time.
    """
    if not generator.exact:
        targets = config.classifiers.targets
        return PixelProtector(generator, [FrozenClassifier(*classifiers[name]) for name in targets])
    params = [stage.params for stage in generator.stages if isinstance(stage, LearnedStage)]
    learned = params[0] if params else None
    conditioners = [getattr(stage, "conditioner", None) for stage in generator.stages]
    patterns = [np.asarray(c.patterns) for c in conditioners if isinstance(c, LearnedPattern)]
    loaded = LoadedGenerator(
        config,
        tuple(class_names),
        learned,
        classifiers,
        patterns=patterns[0] if patterns else None,
    )
    return FileProtector(loaded, config.seed, batch_size)
