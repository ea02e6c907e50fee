"""Protects images as RAE and RIT do: attack, transform, hide what recovery needs."""

import collections
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from raeg_jax import hiding
from raeg_jax.errors import UserError
from raeg_jax.image.metrics import file_mse, mse_of_psnr, psnr_of_mse
from raeg_jax.methods.attack import CONFIDENCE, TILE, Attack
from raeg_jax.methods.recovery import try_recover
from raeg_jax.methods.search import Search
from raeg_jax.methods.transform import Transform, transform_id
from raeg_jax.networks.classifiers import LogitsFn, as_pytree
from raeg_jax.payload import overflow
from raeg_jax.payload.key import Key
from raeg_jax.payload.payload import Payload, SourceMode, digest, draw_nonce
from raeg_jax.payload.seal import seal
from raeg_jax.protection import tiles
from raeg_jax.protection.protect import UnrecoverableError
from raeg_jax.protection.recover import Recovered, check_image

# Decibels from the requested PSNR: the search ends within the first, and an image that misses it by
# more than the second is a failure.
_TOLERANCE, _MAX_MISS = 0.1, 0.5
_SEARCHES = 7
# A change that is to be scaled by more than this, or less than its inverse, is looked for again.
_MAX_SCALE = 1.15
# A payload that takes more of the squared distance than this counts as one that doesn't fit: what
# is left attacks nobody.
_MAX_HIDING = 0.5


class _Source(NamedTuple):
    """An image to be protected, as `Protector.protect` takes it."""

    image: np.ndarray
    label: int
    mode: SourceMode
    orientation: int


@dataclasses.dataclass(frozen=True, eq=False)
class Attempt:
    """A protected image, or one that could not be protected.

    Attributes:
      failure: why there is no protected image; empty where there is one.
      pixels: uint8 [H, W, 3], the protected image, or None.
      blob: the payload, which is hidden in the pixels; empty where there are none.
      psnr: of the pixels against the original, in decibels; infinite where they are equal, or where
        there are none.
      label: the class that was attacked.
      side: of the superpixels or blocks, in pixels.
      strength: of the attack, see `ATTACKS`.
      scale: by which the attack's change was multiplied, to meet a PSNR.
      adversarial: uint8 [H, W, 3], what the attack found.
      unmarked: uint8 [H, W, 3], the image in which the payload is hidden; of RAE the same.
    """

    failure: str
    pixels: np.ndarray | None
    blob: bytes
    psnr: float
    label: int
    side: int
    strength: float
    scale: float
    adversarial: np.ndarray
    unmarked: np.ndarray


class TransformProtector:
    """Protects images with one transform, attack and key.

    An image is tried with the transform's next side where with the one before it has no room for
    its payload, misses the requested PSNR, or loses more than half of the squared distance that the
    PSNR allows to hiding.

    Args:
      transform: `RAE()` or `RIT()`.
      logits_fns: the classifiers attacked together, in evaluation mode.
      key: the owner's.
      attack: one of `ATTACKS`.
      steps: of the attack.
      psnr: of the protected images against their originals, in decibels, 5 to 80. The attack's
        change is scaled image by image to meet it; where the scale is far from 1, a stronger or
        weaker attack is made.
      batch_size: images at a time.
      nonces: as for `protection.protect.Protector`.
    """

    def __init__(
        self,
        transform: Transform,
        logits_fns: Sequence[LogitsFn],
        key: Key,
        *,
        psnr: float,
        attack: str = "pgd",
        steps: int = 20,
        batch_size: int = 16,
        nonces: Callable[[], bytes] = draw_nonce,
    ):
        classifiers = tuple(map(as_pytree, logits_fns))
        self._attack = Attack(attack, classifiers, steps, batch_size, transform.aware)
        self._strength = CONFIDENCE if attack == "cw" else math.sqrt(mse_of_psnr(psnr))
        self._transform, self._key, self._nonces, self._psnr = transform, key, nonces, psnr

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
        sources = [_Source(*each) for each in zip(images, labels, modes, orientations, strict=True)]
        self._check_labels(sources)
        by_shape: dict[tuple[int, int], list[int]] = collections.defaultdict(list)
        for index, image in enumerate(images):
            by_shape[self.shape(image.shape[0], image.shape[1])].append(index)
        attempts: dict[int, Attempt] = {}
        for indices in by_shape.values():
            for side in self._transform.sides:
                left = [i for i in indices if i not in attempts or attempts[i].failure]
                tried = self._protect_alike([sources[i] for i in left], side)
                attempts |= zip(left, tried, strict=True)
        results = [attempts[index] for index in range(len(images))]
        self._check_recovery(sources, results)
        return results

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """What images that share batches have in common, as of `protection.protect.Protector`."""
        return tiles.tile_shape(height, width, TILE)

    def _protect_alike(self, sources: list[_Source], side: int) -> list[Attempt]:
        """Protects images whose tiles have one shape, with one side."""
        attempts, strength = [], self._strength
        size = self._attack.batch_size
        for start in range(0, len(sources), size):
            batch = sources[start : start + size]
            tried = self._attempt_batch(batch, side, [strength] * len(batch))
            # The confidence of `cw` is no length, and can't be scaled.
            if self._attack.name != "cw":
                self._attack_again(batch, side, tried)
                if reached := [x.strength * x.scale for x in tried if not x.failure]:
                    # The next images will need about as much.
                    strength = float(np.median(reached))
            attempts += tried
        return attempts

    def _attack_again(self, batch: list[_Source], side: int, tried: list[Attempt]) -> None:
        """Replaces attempts whose attack was much too strong or too weak."""
        far = [
            i
            for i, attempt in enumerate(tried)
            if not attempt.failure and not 1 / _MAX_SCALE < attempt.scale < _MAX_SCALE
        ]
        strengths = [tried[i].strength * tried[i].scale for i in far]
        again = self._attempt_batch([batch[i] for i in far], side, strengths)
        for i, attempt in zip(far, again, strict=True):
            if not attempt.failure:
                tried[i] = attempt

    def _attempt_batch(
        self, batch: list[_Source], side: int, strengths: list[float]
    ) -> list[Attempt]:
        """Attacks each image once, and scales the changes to the requested PSNR."""
        images, labels = [source.image for source in batch], [source.label for source in batch]
        changed = self._attack(images, labels, strengths, side)
        return [
            self._meet_psnr(*each, side) for each in zip(batch, changed, strengths, strict=True)
        ]

    def _meet_psnr(
        self, source: _Source, attacked: np.ndarray, strength: float, side: int
    ) -> Attempt:
        """Scales a change so that the file has the requested PSNR, or nearly."""

        def miss(attempt: Attempt) -> float:
            return math.inf if attempt.failure else abs(attempt.psnr - self._psnr)

        search, attempts = Search(self._psnr), list[Attempt]()
        while len(attempts) < _SEARCHES and not search.over:
            attempt = self._attempt(source, attacked, strength, side, search.scale)
            attempts.append(attempt)
            if miss(attempt) <= _TOLERANCE:
                break
            pixels = attempt.pixels
            search.update(
                file_mse(attempt.unmarked, source.image),
                math.inf if pixels is None else file_mse(pixels, source.image),
            )
        best = min(attempts, key=miss)
        if best.pixels is None:
            return best
        if miss(best) > _MAX_MISS:
            near = f"the nearest {best.psnr:.1f}"
            failure = f"no strength of the attack gives {self._psnr:g} dB, {near}"
        elif file_mse(best.pixels, best.unmarked) > _MAX_HIDING * mse_of_psnr(self._psnr):
            size = len(best.blob)
            failure = f"hiding {size} bytes takes most of what {self._psnr:g} dB allow"
        else:
            return best
        return dataclasses.replace(best, failure=failure, pixels=None, blob=b"", psnr=math.inf)

    def _attempt(
        self, source: _Source, attacked: np.ndarray, strength: float, side: int, scale: float
    ) -> Attempt:
        """Transforms an image, and hides the payload in the result."""
        image = source.image
        changed = np.clip(image + scale * (attacked - image), 0, 255)
        adversarial, values, auxiliary = self._transform.apply(image, changed, side)
        unmarked, clipped = overflow.clip(values)
        payload = Payload(
            nonce=self._nonces(),
            generator_id=transform_id(self._transform.name),
            height=image.shape[0],
            width=image.shape[1],
            sha256=digest(image),
            mode=source.mode,
            orientation=source.orientation,
            side_info=np.zeros((1, 0), np.int64),
            overflow=clipped,
            auxiliary=auxiliary,
        )
        blob = seal(payload, self._key)
        failure, pixels, psnr = "", None, math.inf
        try:
            pixels = hiding.embed(unmarked, blob)
            psnr = psnr_of_mse(file_mse(pixels, image))
        except hiding.CapacityError as error:
            failure, blob = str(error), b""
        return Attempt(
            failure, pixels, blob, psnr, source.label, side, strength, scale, adversarial, unmarked
        )

    def _check_labels(self, sources: list[_Source]) -> None:
        if not sources:
            return
        height, width = sources[0].image.shape[:2]
        classes = self._attack.classes(height, width)
        for index, source in enumerate(sources):
            if source.label is None or not 0 <= source.label < classes:
                raise UserError(
                    f"label {source.label} of image {index} is no class: they are 0 to "
                    f"{classes - 1}"
                )

    def _check_recovery(self, sources: list[_Source], attempts: list[Attempt]) -> None:
        """Recovers all protected images before they are released."""
        wrong = [
            index
            for index, (source, attempt) in enumerate(zip(sources, attempts, strict=True))
            if attempt.pixels is not None and not self._recovers(attempt.pixels, source.image)
        ]
        if wrong:
            raise UnrecoverableError(wrong, sources[wrong[0]].image.shape)

    def _recovers(self, pixels: np.ndarray, original: np.ndarray) -> bool:
        result = try_recover(pixels, self._key)
        return isinstance(result, Recovered) and np.array_equal(result.pixels, original)
