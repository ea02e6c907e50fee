"""Photographs as protection, attacks and pirates leave them, each made once and kept as PNG."""

import dataclasses
import hashlib
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from photograph_readings import Facts, Seen

import raeg_jax
from raeg_jax.data import decode
from raeg_jax.errors import UserError
from raeg_jax.evaluation.readers import of_generator
from raeg_jax.exact import integers
from raeg_jax.exact.block_float import PIXEL_PARTS
from raeg_jax.files import write_whole
from raeg_jax.generator import photograph, photograph_guide
from raeg_jax.generator.gradient_coupling import PARTS, GradientCoupling
from raeg_jax.image.metrics import file_mse
from raeg_jax.payload.key import Key, draw_planes
from raeg_jax.payload.payload import NONCE_SIZE
from raeg_jax.payload.seal import extract_payload, open_sealed
from raeg_jax.protection.loaded_generator import LoadedGenerator
from raeg_jax.protection.protect import Protector, UnrecoverableError
from raeg_jax.protection.recover import Recovered, Recoverer

# Of the owner; a pirate's tokens come from others.
_KEY = Key(hashlib.sha256(b"key of the benchmark").digest())
# Irreversible changes, to compare with.
CONTROLS = ("noise", "pgd")
_HALVINGS = 24
_MOST_SCALE = 2.0**20


@dataclasses.dataclass(frozen=True)
class Photograph:
    """One of a folder.

    Attributes:
      path: of its file.
      name: relative to the folder.
    """

    path: pathlib.Path
    name: str

    @property
    def class_name(self) -> str:
        """Name of the folder that holds it."""
        return self.path.parent.name

    def load(self) -> np.ndarray:
        """Decodes it: uint8 [H, W, 3]."""
        return decode.to_rgb(self.path.read_bytes())

    def bytes(self, purpose: str, count: int) -> bytes:
        """The same in every run, others for each photograph and purpose."""
        return hashlib.shake_256(f"{purpose} {self.name}".encode()).digest(count)


def _load_png(path: pathlib.Path) -> np.ndarray:
    return decode.to_rgb(path.read_bytes())


class Changes:
    """What one generator makes of the photographs of a folder.

    Args:
      generator: of one stage, which sees photographs, with its published targets.
      folder: of the images; they are taken from there if it holds them.
    """

    def __init__(self, generator: LoadedGenerator, folder: pathlib.Path):
        stages = generator.chain.stages
        if len(stages) != 1 or not photograph.is_of_photographs(stages[0]):
            raise UserError(
                "--generator: it isn't one of photographs, which has a gradient stage with views "
                "such as 'whole' or 'crop', and no other stage"
            )
        self._generator, self._folder = generator, folder
        self._recoverer = Recoverer(generator, _KEY, batch_size=1)
        self._warm = False

    def _stage(self, psnr: float) -> GradientCoupling:
        (stage,) = self._generator.chain_of(psnr).stages
        return stage

    def _path(self, source: Photograph, psnr: float, kind: str) -> pathlib.Path:
        return self._folder / f"{psnr:g}" / kind / f"{source.name}.png"

    def original(self, source: Photograph) -> Seen:
        """The photograph as it is."""
        facts = Facts.of(self._folder / "original" / source.name)
        return Seen(source.load, facts, facts)

    def changed(self, source: Photograph, psnr: float, kind: str, original: Facts) -> Seen:
        """What `protect` ('protected') or `control` made of a photograph, to be read."""
        path = self._path(source, psnr, kind)
        return Seen(lambda: _load_png(path), Facts.of(path), original)

    def protect(self, source: Photograph, psnr: float) -> Facts:
        """Protects a photograph and recovers it, unless that is done.

        Returns:
          Facts: whether it is `exact`; if so the seconds to `protect` it with the check and to
          `recover` it, its `mse` and `psnr`, its `label`, `rounds` and their last `part`, and
          whether the payload is `in_pixels`.
        """
        path = self._path(source, psnr, "protected")
        facts = Facts.of(path)
        if "exact" not in facts.values:
            if not self._warm:
                self._protect(source, psnr, path)
                self._warm = True
            facts.add(**self._protect(source, psnr, path))
        return facts

    def _protect(self, source: Photograph, psnr: float, path: pathlib.Path) -> dict[str, Any]:
        image = source.load()
        nonce = source.bytes("nonce", NONCE_SIZE)
        protector = Protector(self._generator, _KEY, batch_size=1, psnr=psnr, nonces=lambda: nonce)
        start = time.perf_counter()
        try:
            (protected,) = protector.protect([image])
        except UnrecoverableError:
            return {"exact": False}
        middle = time.perf_counter()
        blob = None if protected.in_pixels else protected.blob
        (back,) = self._recoverer.recover([protected.pixels], [blob])
        end = time.perf_counter()
        if not isinstance(back, Recovered) or not np.array_equal(back.pixels, image):
            return {"exact": False}
        path.parent.mkdir(parents=True, exist_ok=True)
        raeg_jax.save(protected, path)
        info = open_sealed(protected.blob, _KEY).side_info[0]
        named = dict(zip(photograph.COLUMNS, info.tolist(), strict=True))
        return {
            "exact": True,
            "protect_seconds": middle - start,
            "recover_seconds": end - middle,
            "mse": file_mse(protected.pixels, image),
            "psnr": min(protected.psnr, 100.0),
            "in_pixels": protected.in_pixels,
            **{name: named[name] for name in ("label", "rounds", "part")},
        }

    def control(self, source: Photograph, psnr: float, kind: str, protected: Facts) -> None:
        """Makes what is as far from a photograph as its protected file, unless it is there.

        Args:
          source: the photograph.
          psnr: that it is protected at.
          kind: of `CONTROLS`: Gaussian noise, or one descent of the stage's guide with as many
            steps as all rounds have together, on the photograph itself and with all its samples.
          protected: facts of the protected file.
        """
        path = self._path(source, psnr, kind)
        if path.exists():
            return
        image, facts = source.load(), protected.values
        if kind == "noise":
            seed = int.from_bytes(source.bytes("noise", 8))
            moved = np.random.default_rng(seed).standard_normal(image.shape, np.float32)
        else:
            moved = _descend(self._stage(psnr), image, facts["label"], facts["rounds"])
        _keep(path, at_distance(image, moved, facts["mse"]))

    def guess(
        self, source: Photograph, psnr: float, label: int, rounds: int, tokens: int, original: Facts
    ) -> tuple[list[Seen], Seen]:
        """What somebody gets from a protected file who has the generator file, but not the key.

        He removes the marks of the payload and runs the rounds backward. Reach and number of rounds
        are public or common; the last round counts as a whole one.

        Args:
          source: the photograph.
          psnr: that it is protected at.
          label: the class that he takes it for.
          rounds: that he takes it to have.
          tokens: how many he draws.
          original: facts of the photograph.

        Returns:
          An image for each token, and their mean, pixel by pixel.
        """
        images = []
        for token in range(tokens):
            kind = f"guesses/{label}-{rounds}-{token}"
            if not (path := self._path(source, psnr, kind)).exists():
                _keep(path, self._turned_back(source, psnr, label, rounds, token))
            images.append(self.changed(source, psnr, kind, original))
        kind = f"guesses/{label}-{rounds}-mean-of-{tokens}"
        if not (path := self._path(source, psnr, kind)).exists():
            mean = np.mean([seen.load() for seen in images], axis=0, dtype=np.float32)
            _keep(path, np.round(mean).astype(np.uint8))
        return images, self.changed(source, psnr, kind, original)

    def _turned_back(self, source, psnr, label, rounds, token):
        path = self._path(source, psnr, "protected")
        pixels, stage = _load_png(path), self._stage(psnr)
        if Facts.of(path).values["in_pixels"]:
            pixels = extract_payload(pixels, None).pixels
        planes = None
        if stage.token_planes:
            key = Key(hashlib.sha256(b"key of a pirate %d" % token).digest())
            nonce = source.bytes("pirate", NONCE_SIZE)
            height, width = pixels.shape[:2]
            planes = draw_planes(key.token_key, nonce, height, width, stage.token_planes)
        table = np.array([[label, rounds, PARTS, *photograph.strength(stage)]], np.int64)
        (values,) = photograph.inverse(stage, [pixels], table, [planes], 1)
        return np.clip(values, 0, 255).astype(np.uint8)

    def rankings(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """All classes by the targets' mean probabilities, most probable first: int [n, K].

        Args:
          images: uint8 [H, W, 3] each.
        """
        readers = of_generator(self._generator)
        names = self._generator.config.classifiers.targets
        logits = np.stack([readers[name].logits(images) for name in names])
        return np.argsort(-np.asarray(jax.nn.softmax(logits)).mean(axis=0), axis=-1)


def _keep(path: pathlib.Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, decode.encode_png(image))


def _descend(stage: GradientCoupling, image: np.ndarray, label: int, rounds: int) -> np.ndarray:
    """The displacement of an irreversible attack: float32 [H, W, 3], in pixel units."""
    guide = stage.conditioner
    guide = guide.replace(steps=max(rounds, 1) * guide.steps)
    height, width = image.shape[:2]
    side = photograph_guide.cell_side(height, width)
    means = photograph_guide.cell_means(np, image[None], side)
    words = np.zeros((1, photograph_guide.WORDS), np.uint32)
    radius = round(float(guide.reach) * PIXEL_PARTS * integers.RMS_PARTS)
    moved = _attack(
        guide,
        photograph_guide.pad_working(np, means),
        np.array([label], np.int32),
        words,
        np.array([radius], np.int32),
    )
    cells = np.asarray(moved, np.float32)[0, : means.shape[1], : means.shape[2]] / PIXEL_PARTS
    return cells.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]


@jax.jit
def _attack(guide, working, labels, words, radius):
    return guide.descend(working, labels, words, 0, radius)


def at_distance(image: np.ndarray, displacement: np.ndarray, mse: float) -> np.ndarray:
    """An image displaced so far that, rounded and clipped, it has a mean squared error.

    Args:
      image: uint8 [H, W, 3].
      displacement: float32 of the same shape.
      mse: in squared pixel units; where clipping allows less, the result has that.
    """

    def moved(scale):
        return np.clip(np.round(image + np.float32(scale) * displacement), 0, 255).astype(np.uint8)

    low, high = 0.0, 1.0
    while high < _MOST_SCALE and file_mse(moved(high), image) < mse:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if file_mse(moved(middle), image) < mse:
            low = middle
        else:
            high = middle
    return moved(high)
