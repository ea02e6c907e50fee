"""How a generator's images are made and undone in an evaluation.

`Files` does it as `raeg protect` and `raeg recover` do, payload inside. `Pixels` is the generator
alone: for float couplings, which no payload makes exact, and where an experiment is about pixels.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from raeg_jax.evaluation import compiled, tokens
from raeg_jax.evaluation.roundtrip import png_roundtrip
from raeg_jax.generator.chain import Chain, LearnedStage
from raeg_jax.image_file.read import ImageFile, decode_image_file
from raeg_jax.image_file.write import png_bytes
from raeg_jax.payload import side_info
from raeg_jax.payload.extraction import extract_payload
from raeg_jax.payload.key import Key
from raeg_jax.payload.overflow import clip
from raeg_jax.payload.payload import Payload
from raeg_jax.payload.seal import open_sealed
from raeg_jax.payload.token import Token
from raeg_jax.protection import passes
from raeg_jax.protection.loaded_generator import LoadedGenerator
from raeg_jax.protection.protect import Protected, Protector
from raeg_jax.protection.recover import Recovered, Recoverer


@dataclasses.dataclass(frozen=True, eq=False)
class Made:
    """A batch of protected images, read back from their files.

    Attributes:
      images: uint8 [B, H, W, 3].
      sizes: int [B], bytes of each file.
      measured: arrays [B] by name: `outside`, the share of samples outside 0..255 before clipping;
        `code/rounds` of the last shortcut or gradient stage, if there is one; of `Files` also
        `payload/bytes` and `payload/in_pixels`.
      undo: what the maker needs to undo them.
    """

    images: np.ndarray
    sizes: np.ndarray
    measured: dict[str, np.ndarray]
    undo: Any


class Pixels:
    """A generator alone; the pixels of its files and the codes give back what they can.

    Args:
      chain: the generator.
    """

    has_payload = False

    def __init__(self, chain: Chain):
        self.chain = compiled.on_one_device(chain)

    def protect(self, index: np.ndarray, images: np.ndarray, labels: np.ndarray) -> Made:
        """Protects a batch.

        Args:
          index: int [B], numbers of the images, on which their tokens depend.
          images: uint8 [B, H, W, 3].
          labels: int32 [B].
        """
        protected, outside, code = self._run(self.chain, index, images, labels)
        files, sizes = png_roundtrip(protected)
        measured = {"outside": outside}
        if rounds := [own.rounds for own in code if own]:
            measured["code/rounds"] = rounds[-1]
        return Made(files, sizes, measured, (index, code))

    def partly(self, stages: int, made: Made, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """What only the first stages make of a batch: uint8 [B, H, W, 3].

        Args:
          stages: how many.
          made: what `protect` made of it.
          images: as for `protect`.
          labels: as for `protect`.
        """
        first = Chain(self.chain.stages[:stages])
        return np.asarray(self._run(first, made.undo[0], images, labels)[0])

    def recover(self, made: Made) -> np.ndarray:
        """Recovers what `protect` made: uint8 [B, H, W, 3]."""
        return self.from_pixels(made)

    def from_pixels(self, made: Made, wrong_key: bool = False) -> np.ndarray:
        """Runs the generator backward on the files' pixels: uint8 [B, H, W, 3].

        Args:
          made: what `protect` made.
          wrong_key: with a wrong token, though with the right codes.
        """
        (index, code), size = made.undo, made.images.shape[1:3]
        key = tokens.WRONG if wrong_key else tokens.RIGHT
        token = tokens.draw(self.chain, index, *size, key)
        return np.asarray(compiled.recover(self.chain, made.images, code, token))

    def _run(self, chain, index, images, labels):
        token = tokens.draw(self.chain, index, *images.shape[1:3])
        return compiled.protect(chain, images, labels, token)


class Files:
    """Files as users get them, and `from_pixels` what they would give without clipped values.

    Methods are those of `Pixels`. The key and the nonces are no secret, so runs can be repeated.

    Args:
      bundle: the generator, an exact one.
      seed: of the keys.
      batch_size: images at a time.
    """

    has_payload = True

    def __init__(self, bundle: LoadedGenerator, seed: int, batch_size: int):
        self.chain, self._batch_size = bundle.chain, batch_size
        self._key, self._wrong_key = tokens.key_of(seed, "evaluation"), tokens.key_of(seed, "wrong")
        self._numbers: Iterator[int] = iter(())
        self._protector = Protector(
            bundle,
            self._key,
            batch_size=batch_size,
            nonces=lambda: tokens.nonce_of(next(self._numbers)),
        )
        self._recoverer = Recoverer(bundle, self._key, batch_size=batch_size)

    def protect(self, index: np.ndarray, images: np.ndarray, labels: np.ndarray) -> Made:
        """As `raeg protect` does, in memory.

        Raises:
          DivergedError: values too far outside 0..255.
        """
        self._numbers = iter(index)
        protected = self._protector.protect(list(images), labels.tolist())
        files = [_written(one) for one in protected]
        opened = [_Opened.read(file, self._key) for file in files]
        payloads = [one.payload for one in opened]
        measured = {
            "outside": [len(payload.overflow.ranks) / images[0].size for payload in payloads],
            "payload/bytes": [len(one.blob) for one in protected],
            "payload/in_pixels": [one.in_pixels for one in protected],
        }
        if "rounds" in (columns := side_info.columns(self.chain)):
            last = len(columns) - 1 - columns[::-1].index("rounds")
            measured["code/rounds"] = [payload.side_info[:, last].max() for payload in payloads]
        return Made(
            images=np.stack([one.picture.pixels for one in opened]),
            sizes=np.array([len(file) for file in files], np.int64),
            measured={name: np.array(values) for name, values in measured.items()},
            undo=opened,
        )

    def partly(self, stages: int, made: Made, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """What the first stages make, in which no payload is hidden."""
        first, payloads = Chain(self.chain.stages[:stages]), [one.payload for one in made.undo]
        found, _ = passes.forward(
            first, images, labels, self._tokens(payloads, self._key), *self._cut(payloads)
        )
        return np.stack([clip(values)[0] for values in found])

    def recover(self, made: Made) -> np.ndarray:
        """As `raeg recover` does."""
        chunks = [one.picture.payload_chunk for one in made.undo]
        found = self._recoverer.recover(list(made.images), chunks)
        for one in found:
            if not isinstance(one, Recovered):
                raise one
        return np.stack([one.pixels for one in found])

    def from_pixels(self, made: Made, wrong_key: bool = False) -> np.ndarray:
        """Of a payload only the codes are used."""
        key, payloads = self._wrong_key if wrong_key else self._key, [o.payload for o in made.undo]
        found = passes.inverse(
            self.chain,
            [one.unmarked for one in made.undo],
            [payload.side_info for payload in payloads],
            self._tokens(payloads, key),
            *self._cut(payloads),
        )
        return np.stack(found)

    def _tokens(self, payloads: Sequence[Payload], key: Key) -> list[Token]:
        planes, token_key = self.chain.token_planes, key.token_key
        return [Token(token_key, payload.nonce, planes) for payload in payloads]

    def _cut(self, payloads: Sequence[Payload]) -> tuple[list[int], int]:
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
        found = extract_payload(picture.pixels, picture.payload_chunk)
        return cls(picture, found.pixels, open_sealed(found.blob, key))


def _written(one: Protected) -> bytes:
    return png_bytes(ImageFile(one.pixels), payload_chunk=None if one.in_pixels else one.blob)


def maker_of(
    config: ConfigDict,
    class_names: Sequence[str],
    generator: Chain,
    classifiers: Mapping[str, tuple[nn.Module, Any]],
    batch_size: int,
) -> Files | Pixels:
    """Makes images as users do, if the generator is exact.

    Args:
      config: the whole configuration.
      class_names: one a label.
      generator: its stages.
      classifiers: (module, variables) of the targets at least by name.
      batch_size: images at a time.
    """
    if not generator.exact:
        return Pixels(generator)
    params = [stage.params for stage in generator.stages if isinstance(stage, LearnedStage)]
    bundle = LoadedGenerator(config, tuple(class_names), params[0] if params else None, classifiers)
    return Files(bundle, config.seed, batch_size)
