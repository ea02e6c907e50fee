"""Protects images as RAE and RIT do, with classifiers to attack and a key."""

import collections
import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from raeg_jax.attacks.gradient import LogitsFn
from raeg_jax.baselines import carrier
from raeg_jax.baselines.attack import ATTACKS, attack
from raeg_jax.baselines.carrier import Source
from raeg_jax.baselines.method import Disguised, Method
from raeg_jax.baselines.recover import recover
from raeg_jax.baselines.strength import Search
from raeg_jax.codec import hiding, tiles
from raeg_jax.codec.errors import PayloadError
from raeg_jax.codec.inputs import check_image
from raeg_jax.codec.key import Key
from raeg_jax.codec.overflow import split
from raeg_jax.codec.payload import SourceMode
from raeg_jax.codec.protect import UnrecoverableError
from raeg_jax.errors import UserError
from raeg_jax.evaluation.compiled import as_pytree

# Decibels: so near is good enough, and what is further off than that is a failure.
_NEAR, _ENOUGH = 0.1, 0.5
_SEARCHES = 7


@dataclasses.dataclass(frozen=True, eq=False)
class Attempt:
    """A protected image, or one that could not be protected.

    Attributes:
      failure: why there is no protected image; empty where there is one.
      pixels: uint8 [H, W, 3], or None.
      blob: the payload, which is hidden in the pixels; or None.
      psnr: of the pixels against the original, in decibels; infinite where they are equal, or where
        there are none.
      label: the class that was attacked.
      side: of the superpixels or blocks.
      strength: of the attack, see `ATTACKS`.
      adversarial: uint8 [H, W, 3], what the attack found.
      unmarked: uint8 [H, W, 3], what the payload was to be hidden in; of RAE the same.
      auxiliary_size: bytes of auxiliary data in the payload.
    """

    failure: str
    pixels: np.ndarray | None
    blob: bytes | None
    psnr: float
    label: int
    side: int
    strength: float
    adversarial: np.ndarray
    unmarked: np.ndarray
    auxiliary_size: int


class BaselineProtector:
    """Protects images with one method, attack and key.

    An image that has no room for its payload with the first of the method's sides, or that misses
    the PSNR asked for, is tried with the next one. Programs are compiled for each side and shape
    of images.

    Args:
      method: `RAE()` or `RIT()`.
      logits_fns: the classifiers attacked together, in evaluation mode.
      key: the owner's.
      attack: one of `ATTACKS`.
      steps: of the attack.
      strength: of the attack, see `ATTACKS`; with `psnr` where the search begins, by default the
        distance of that PSNR.
      psnr: of the protected files against their originals, in decibels: the strength is searched
        image by image. None takes the strength as it is.
      batch_size: images at a time.

    Raises:
      UserError: an impossible value.
    """

    def __init__(
        self,
        method: Method,
        logits_fns: Sequence[LogitsFn],
        key: Key,
        *,
        attack: str = "pgd",
        steps: int = 20,
        strength: float | None = None,
        psnr: float | None = None,
        batch_size: int = 16,
    ):
        if not logits_fns:
            raise UserError("logits_fns is empty: name at least one classifier to attack")
        if attack not in ATTACKS:
            raise UserError(f"attack={attack!r} is unknown: use one of {', '.join(ATTACKS)}")
        for name, number in {"steps": steps, "batch_size": batch_size}.items():
            if number < 1:
                raise UserError(f"{name}={number} is impossible: it must be 1 or more")
        if psnr is not None and not 5 <= psnr <= 80:
            raise UserError(f"psnr={psnr} is impossible: it must be 5 to 80 decibels")
        if strength is None:
            if psnr is None:
                raise UserError("neither strength nor psnr is given: name one of them")
            strength = 255 / 10 ** (psnr / 20)
        if not 0 < strength <= 255:
            raise UserError(f"strength={strength} is impossible: it must be above 0, at most 255")
        self._method, self._key, self._psnr, self._strength = method, key, psnr, strength
        self._logits_fns = tuple(map(as_pytree, logits_fns))
        self._attack, self._steps, self._batch_size = attack, steps, batch_size

    def protect(
        self,
        images: Sequence[np.ndarray],
        labels: Sequence[int],
        modes: Sequence[SourceMode] | None = None,
        orientations: Sequence[int] | None = None,
    ) -> list[Attempt]:
        """Protects images of any sizes that the classifiers take.

        Args:
          images: uint8 [H, W, 3] each.
          labels: the true class of each.
          modes: of the original files, for recovery; RGB by default.
          orientations: EXIF orientations of the original files, for recovery; 1 by default.

        Raises:
          UserError: something that isn't an image.
          UnrecoverableError: an image would not come back exactly.
        """
        modes = [SourceMode.RGB] * len(images) if modes is None else modes
        orientations = [1] * len(images) if orientations is None else orientations
        sources = [Source(*each) for each in zip(images, labels, modes, orientations, strict=True)]
        lots = collections.defaultdict(list)
        for index, source in enumerate(sources):
            check_image(source.image, index)
            lots[source.image.shape].append(index)
        made: dict[int, Attempt] = {}
        for lot in lots.values():
            for side in self._method.sides:
                left = [index for index in lot if index not in made or made[index].failure]
                tried = self._try([sources[index] for index in left], side)
                made |= zip(left, tried, strict=True)
        self._recover_again(sources, made)
        return [made[index] for index in range(len(images))]

    def _try(self, sources: list[Source], side: int) -> list[Attempt]:
        """Images of one shape with one side, each with the strength that it needs."""
        if self._psnr is None:
            return self._attempts(sources, side, [self._strength] * len(sources))
        searches = [Search(self._psnr, self._strength) for _ in sources]
        best: dict[int, Attempt] = {}
        left = list(range(len(sources)))
        for _ in range(_SEARCHES):
            strengths = [searches[index].strength for index in left]
            tried = self._attempts([sources[index] for index in left], side, strengths)
            for index, one in zip(left, tried, strict=True):
                best[index] = min(best.get(index, one), one, key=self._miss)
                marked = math.inf if one.failure else _error(one.pixels, sources[index].image)
                searches[index].told(_error(one.unmarked, sources[index].image), marked)
            left = [i for i in left if self._miss(best[i]) > _NEAR and not searches[i].over]
        return [self._judged(best[index]) for index in range(len(sources))]

    def _attempts(self, sources: list[Source], side: int, strengths: list[float]) -> list[Attempt]:
        """Images of one shape with given strengths."""
        made = []
        for start in range(0, len(sources), self._batch_size):
            batch = slice(start, start + self._batch_size)
            found = attack(
                self._logits_fns,
                self._filled([source.image for source in sources[batch]]),
                self._filled(np.array([source.label for source in sources[batch]], np.int32)),
                self._filled(np.array(strengths[batch], np.float32)),
                name=self._attack,
                method=self._method,
                side=side,
                steps=self._steps,
            )
            for source, attacked, strength in zip(
                sources[batch], np.asarray(found), strengths[batch], strict=False
            ):
                disguised = self._method.disguise(source.image, attacked, side)
                made.append(self._attempt(source, disguised, side, strength))
        return made

    def _filled(self, batch: Sequence) -> np.ndarray:
        return tiles.fill(np.stack(batch), self._batch_size)

    def _attempt(self, source: Source, disguised: Disguised, side: int, strength: float) -> Attempt:
        adversarial, values, auxiliary = disguised
        failure, pixels, blob, psnr = "", None, None, math.inf
        try:
            pixels, blob = carrier.mark(self._method, source, values, auxiliary, self._key)
            psnr = _decibels(_error(pixels, source.image))
        except hiding.NoRoomError as error:
            failure = str(error)
        return Attempt(
            failure, pixels, blob, psnr, source.label, side, strength, adversarial,
            split(values)[0], len(auxiliary),
        )  # fmt: skip

    def _miss(self, one: Attempt) -> float:
        """Decibels by which an attempt misses what was asked for."""
        return math.inf if one.failure else abs(one.psnr - self._psnr)

    def _judged(self, one: Attempt) -> Attempt:
        if one.failure or self._miss(one) <= _ENOUGH:
            return one
        failure = f"no strength of the attack gives {self._psnr:g} dB, the nearest {one.psnr:.1f}"
        return dataclasses.replace(one, failure=failure, pixels=None, blob=None, psnr=math.inf)

    def _recover_again(self, sources: list[Source], made: dict[int, Attempt]) -> None:
        """Recovers what would be given out."""
        wrong = [
            index
            for index, one in made.items()
            if not one.failure and not self._comes_back(one.pixels, sources[index].image)
        ]
        if wrong:
            raise UnrecoverableError(wrong, sources[wrong[0]].image.shape)

    def _comes_back(self, pixels: np.ndarray, original: np.ndarray) -> bool:
        try:
            return np.array_equal(recover(pixels, self._key).pixels, original)
        except PayloadError:
            return False


def _error(one: np.ndarray, other: np.ndarray) -> float:
    """Mean squared error, in squared pixel units."""
    return float(np.mean((one.astype(np.int32) - other) ** 2))


def _decibels(error: float) -> float:
    return 10 * math.log10(255**2 / error) if error else math.inf
