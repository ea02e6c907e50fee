"""Protects images as RAE and RIT do, with classifiers to attack and a key."""

import collections
import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import numpy as np

from raeg_jax import hiding
from raeg_jax.attacks.gradient import LogitsFn
from raeg_jax.baselines import carrier, superpixels
from raeg_jax.baselines.attack import ATTACKS, CONFIDENCE, attack
from raeg_jax.baselines.carrier import Source
from raeg_jax.baselines.method import Method
from raeg_jax.baselines.recover import recover
from raeg_jax.baselines.strength import Search
from raeg_jax.errors import UserError
from raeg_jax.image.metrics import file_mse, mse_of_psnr, psnr_of_mse
from raeg_jax.networks.frozen import as_pytree
from raeg_jax.payload.errors import PayloadError
from raeg_jax.payload.key import Key
from raeg_jax.payload.overflow import clip
from raeg_jax.payload.payload import SourceMode, draw_nonce
from raeg_jax.protection import tiles
from raeg_jax.protection.protect import UnrecoverableError
from raeg_jax.protection.recover import check_image

# Decibels: so near is good enough, and what is further off than that is a failure.
_NEAR, _ENOUGH = 0.1, 0.5
_SEARCHES = 7
# A change that is to be scaled by more than this, or less than its inverse, is looked for again.
_FAR = 1.15
# Larger images are attacked in squares of about this side, so that memory and compilations are
# bounded.
_TILE = 256
# A payload that takes more of the distance than this counts as one that doesn't fit: what is left
# attacks nobody.
_MOST_HIDDEN = 0.5


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
      scale: of what the attack changed so much was taken, to meet a PSNR.
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
    scale: float
    adversarial: np.ndarray
    unmarked: np.ndarray
    auxiliary_size: int


class BaselineProtector:
    """Protects images with one method, attack and key.

    An image that has no room for its payload with the first of the method's sides, or that misses
    the PSNR asked for, or of which hiding alone takes more than half of the distance that the PSNR
    allows, is tried with the next one. Programs are compiled for each side and shape
    of images: one for all that are larger than 256 pixels both ways.

    Args:
      method: `RAE()` or `RIT()`.
      logits_fns: the classifiers attacked together, in evaluation mode.
      key: the owner's.
      attack: one of `ATTACKS`.
      steps: of the attack.
      strength: of the attack, see `ATTACKS`; with `psnr` where the search begins, by default the
        distance of that PSNR (of `cw` the confidence 1).
      psnr: of the protected files against their originals, in decibels: image by image so much is
        taken of what the attack changed, and where that is far from all of it, a stronger or weaker
        attack is made. None takes the strength as it is.
      batch_size: images at a time.
      nonces: as for `codec.protect.Protector`.

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
        nonces: Callable[[], bytes] = draw_nonce,
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
            strength = CONFIDENCE if attack == "cw" else math.sqrt(mse_of_psnr(psnr))
        if not (0 < strength <= 255 or (strength == 0 and attack == "cw")):
            raise UserError(f"strength={strength} is impossible: it must be above 0, at most 255")
        self._method, self._key, self._psnr, self._strength = method, key, psnr, strength
        self._logits_fns = tuple(map(as_pytree, logits_fns))
        self._attack, self._steps, self._batch_size = attack, steps, batch_size
        self._nonces = nonces

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
          UserError: something that isn't an image, or a label of no class.
          UnrecoverableError: an image would not come back exactly.
        """
        modes = [SourceMode.RGB] * len(images) if modes is None else modes
        orientations = [1] * len(images) if orientations is None else orientations
        for index, image in enumerate(images):
            check_image(image, index)
        if len(images):
            self._check_labels(images, labels)
        sources = [Source(*each) for each in zip(images, labels, modes, orientations, strict=True)]
        lots = collections.defaultdict(list)
        for index, source in enumerate(sources):
            lots[self.shape(*source.image.shape[:2])].append(index)
        made: dict[int, Attempt] = {}
        for lot in lots.values():
            for side in self._method.sides:
                left = [index for index in lot if index not in made or made[index].failure]
                tried = self._try([sources[index] for index in left], side)
                made |= zip(left, tried, strict=True)
        self._recover_again(sources, made)
        return [made[index] for index in range(len(images))]

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """What images that can share batches have in common, as of `codec.protect.Protector`."""
        return tiles.tile_shape(height, width, _TILE)

    def _try(self, sources: list[Source], side: int) -> list[Attempt]:
        """Images whose tiles have one shape, with one side."""
        made, strength = [], self._strength
        for start in range(0, len(sources), self._batch_size):
            some = sources[start : start + self._batch_size]
            tried = self._attempts(some, side, [strength] * len(some))
            # Only of other attacks the strength is a length.
            far = [
                i
                for i, one in enumerate(tried)
                if not one.failure and self._attack != "cw" and not 1 / _FAR < one.scale < _FAR
            ]
            better = self._attempts(
                [some[i] for i in far], side, [tried[i].strength * tried[i].scale for i in far]
            )
            for i, one in zip(far, better, strict=True):
                tried[i] = tried[i] if one.failure else one
            if reached := [one.strength * one.scale for one in tried if not one.failure]:
                # The next ones will need about as much.
                strength = strength if self._attack == "cw" else float(np.median(reached))
            made += tried
        return made

    def _attempts(self, sources: list[Source], side: int, strengths: list[float]) -> list[Attempt]:
        """One attack on each image, whose change is scaled as the PSNR wants it."""
        found = self._attacked(sources, side, strengths)
        attempts = []
        for source, attacked, strength in zip(sources, found, strengths, strict=True):
            if self._psnr is None:
                attempts.append(self._attempt(source, attacked, side, strength, 1.0))
            else:
                attempts.append(self._scaled(source, attacked, side, strength))
        return attempts

    def _attacked(self, sources, side, strengths) -> list[np.ndarray]:
        """What the attack finds, float32 [H, W, 3] each, tile by tile."""
        # Whole superpixels, so that those of all tiles are those of the image.
        tile = _TILE - _TILE % side
        images = [superpixels.fit_tiles(source.image, side, tile) for source in sources]
        layouts = [tiles.layout(*image.shape[:2], tile) for image in images]
        found = [image.astype(np.float32) for image in images]
        # Of one shape, mostly: an image may be just as large as a tile.
        places = collections.defaultdict(list)
        for i, image in enumerate(images):
            alike = places[tiles.tile_shape(*image.shape[:2], tile)]
            alike += [(i, number) for number in range(len(layouts[i]))]
        for alike in places.values():
            for start in range(0, len(alike), self._batch_size):
                some = alike[start : start + self._batch_size]
                changed = self._attack_tiles(sources, images, layouts, some, side, strengths)
                for (i, number), own in zip(some, changed, strict=False):
                    part = layouts[i][number]
                    into = found[i][part.rows, part.columns]
                    into[part.top :, part.left :] = own[part.top :, part.left :]
        sizes = [source.image.shape[:2] for source in sources]
        return [one[:height, :width] for one, (height, width) in zip(found, sizes, strict=True)]

    def _attack_tiles(self, sources, images, layouts, places, side, strengths) -> np.ndarray:
        # Not filled all the way: a single image would take as long as a batch.
        size = min(self._batch_size, 1 << (len(places) - 1).bit_length())
        batch, _ = tiles.take_batch(images, layouts, places, size)
        return attack(
            self._logits_fns,
            batch,
            tiles.pad_batch(np.array([sources[i].label for i, _ in places], np.int32), size),
            tiles.pad_batch(np.array([strengths[i] for i, _ in places], np.float32), size),
            name=self._attack,
            method=self._method,
            side=side,
            steps=self._steps,
        )

    def _scaled(self, source: Source, attacked: np.ndarray, side: int, strength: float) -> Attempt:
        """Takes so much of a change that the file has the PSNR asked for, or nearly."""
        search, best = Search(self._psnr, 1.0), None
        for _ in range(_SEARCHES):
            one = self._attempt(source, attacked, side, strength, search.strength)
            best = one if best is None else min(best, one, key=self._miss)
            if self._miss(one) <= _NEAR:
                break
            marked = math.inf if one.failure else file_mse(one.pixels, source.image)
            search.told(file_mse(one.unmarked, source.image), marked)
            if search.over:
                break
        return self._judged(best, source)

    def _attempt(
        self, source: Source, attacked: np.ndarray, side: int, strength: float, scale: float
    ) -> Attempt:
        changed = np.clip(source.image + scale * (attacked - source.image), 0, 255)
        adversarial, values, auxiliary = self._method.disguise(source.image, changed, side)
        failure, pixels, blob, psnr = "", None, None, math.inf
        try:
            pixels, blob = carrier.mark(
                self._method, source, values, auxiliary, self._key, self._nonces()
            )
            psnr = psnr_of_mse(file_mse(pixels, source.image))
        except hiding.CapacityError as error:
            failure = str(error)
        return Attempt(
            failure, pixels, blob, psnr, source.label, side, strength, scale, adversarial,
            clip(values)[0], len(auxiliary),
        )  # fmt: skip

    def _miss(self, one: Attempt) -> float:
        """Decibels by which an attempt misses what was asked for."""
        return math.inf if one.failure else abs(one.psnr - self._psnr)

    def _judged(self, one: Attempt, source: Source) -> Attempt:
        if one.failure:
            return one
        failure, asked = "", mse_of_psnr(self._psnr)
        if self._miss(one) > _ENOUGH:
            near = f"the nearest {one.psnr:.1f}"
            failure = f"no strength of the attack gives {self._psnr:g} dB, {near}"
        elif file_mse(one.pixels, one.unmarked) > _MOST_HIDDEN * asked:
            failure = f"hiding {len(one.blob)} bytes takes most of what {self._psnr:g} dB allow"
        if not failure:
            return one
        return dataclasses.replace(one, failure=failure, pixels=None, blob=None, psnr=math.inf)

    def _check_labels(self, images: Sequence[np.ndarray], labels: Sequence[int]) -> None:
        shape = *self.shape(*images[0].shape[:2]), 3
        one = jax.ShapeDtypeStruct((1, *shape), np.float32)
        classes = jax.eval_shape(self._logits_fns[0], one).shape[-1]
        for index, label in enumerate(labels):
            if label is None or not 0 <= label < classes:
                raise UserError(
                    f"label {label} of image {index} is no class: they are 0 to {classes - 1}"
                )

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
