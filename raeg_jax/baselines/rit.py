"""RIT: the original itself is turned into an image that looks like an adversarial one.

Yin et al. (2019), Reversible Adversarial Attack based on Reversible Image Transformation, arXiv
1911.02360, after Hou et al. (2016), Reversible visual transformation via exploring the correlations
within color images. Blocks of the original go where the adversarial image has blocks of the same
class, have their mean shifted in steps, and are rotated. Where that leaves 0..255, the shift is
limited, and what still does is in the payload as with generators.

Our choices: classes by the variance over all channels, and one rotation for all of them; a block
whose own place is one of its class stays there (`stay`), which the decoder can tell.

An adversarial image is near its original, so there each block resembles none as much as itself:
with one class, where all stay and are only shifted and rotated, less is lost and hidden than with
several. Blocks of 4 pixels average most of a perturbation away, blocks of 2 keep more.
"""

import dataclasses

import jax
import numpy as np

from raeg_jax.attacks.gradient import LogitsFn
from raeg_jax.baselines import blocks, coding
from raeg_jax.baselines.method import Disguised, check_sides
from raeg_jax.codec import varint
from raeg_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class RIT:
    """The method; see `Method`.

    Auxiliary data: five bytes (side, classes, quantum, smooth, stay), then as `coding` writes them
    the number of blocks in each class; by how much the class of each block is above that of the
    block now in its place, modulo the number of classes; and of each place, in scan order, the
    shift of each channel in quanta, the corrections that keep it within 0..255 where there can be
    any, and the rotation where the block isn't smooth.

    Attributes:
      sides: of the blocks, in pixels, 1 to 255. With 1 only the shift is left.
      classes: of blocks, 1 to 255.
      quantum: step of the shift, in pixel units, 1 to 255.
      limit: by how much shifts are reduced at most to stay within 0..255, in pixel units.
      smooth: blocks of a smaller standard deviation (of all channels together) aren't rotated; in
        pixel units, 0 to 255.
      stay: blocks may stay where they are; False pairs them as the paper does.

    Raises:
      UserError: an impossible value.
    """

    sides: tuple[int, ...] = (4,)
    classes: int = 6
    quantum: int = 8
    limit: int = 8
    smooth: int = 6
    stay: bool = True
    name = "rit"

    def __post_init__(self):
        check_sides(self.sides)
        for name, least in {"classes": 1, "quantum": 1, "limit": 0, "smooth": 0}.items():
            if getattr(self, name) not in range(least, 256):
                raise UserError(
                    f"{name}={getattr(self, name)} is impossible: it must be {least} to 255"
                )

    def seen_by(self, logits_fn: LogitsFn, images: jax.Array, side: int) -> LogitsFn:
        return logits_fn

    def disguise(self, original: np.ndarray, attacked: np.ndarray, side: int) -> Disguised:
        adversarial = np.clip(np.rint(attacked), 0, 255).astype(np.uint8)
        own = blocks.cut(original, side).astype(np.int32)
        goal = blocks.cut(adversarial, side).astype(np.int32)
        kinds = blocks.classify(blocks.variances(own), self.classes)
        counts = np.bincount(kinds, minlength=self.classes)
        there = blocks.classify_alike(blocks.variances(goal), counts)
        found = np.empty_like(own)
        found[blocks.places(kinds, there, self.stay)] = own
        offset = goal.mean((1, 2)) - found.mean((1, 2))
        quanta = np.rint(offset / self.quantum).astype(np.int32)
        found += self.quantum * quanta[:, None, None]
        corrections = self._corrections(found)
        found += corrections[:, None, None]
        rotations = _best_rotations(found, goal) * _rough(found, self.smooth)
        found = _rotated(found, rotations)
        settings = bytes([side, self.classes, self.quantum, self.smooth, self.stay])
        parts = (
            counts,
            (kinds - there) % self.classes,
            quanta,
            corrections[_at_the_ends(found)],
            rotations[_rough(found, self.smooth)],
        )
        auxiliary = settings + b"".join(map(coding.encode, parts))
        return Disguised(adversarial, blocks.paste(found, original.astype(np.int32)), auxiliary)

    def _corrections(self, found):
        """What keeps shifted blocks within 0..255, or nearer to it: [n, C]."""
        low, high = found.min((1, 2)), found.max((1, 2))
        down = -np.minimum(high - 255, self.limit)
        return np.where(high >= 255, down, np.where(low <= 0, np.minimum(-low, self.limit), 0))

    @staticmethod
    def reveal(values: np.ndarray, auxiliary: bytes) -> np.ndarray:
        data = varint.Reader(auxiliary)
        side, classes, quantum, smooth, stay = data.take(5)
        if not (side and classes and quantum):
            raise ValueError("a setting of 0")
        found = blocks.cut(values, side)
        rough, ends = _rough(found, smooth), _at_the_ends(found)
        counts = coding.decode(data, classes)
        if counts.min() < 0 or counts.sum() != len(found):
            raise ValueError(f"classes of {counts.sum()} blocks, and there are {len(found)}")
        there = blocks.classify_alike(blocks.variances(found), counts)
        kinds = (coding.decode(data, len(found)) + there) % classes
        if np.any(np.bincount(kinds, minlength=classes) != counts):
            raise ValueError("classes have other numbers of blocks than of places")
        shifts = quantum * coding.decode(data, 3 * len(found)).reshape(-1, 3)
        shifts[ends] += coding.decode(data, int(ends.sum()))
        rotations = np.zeros(len(found), np.int64)
        rotations[rough] = coding.decode(data, int(rough.sum()))
        if rest := data.rest():
            raise ValueError(f"{len(rest)} bytes too many")
        own = _rotated(found, -rotations % 4) - shifts[:, None, None]
        return blocks.paste(own[blocks.places(kinds, there, bool(stay))], values.astype(np.int64))


def _rough(found, smooth):
    """Which blocks may have been rotated, by what rotation doesn't change: bool [n]."""
    pixels = found.shape[1] * found.shape[2]
    return blocks.variances(found) > found.shape[3] * (smooth * pixels) ** 2


def _at_the_ends(found):
    """Which channels of which blocks have 0 or 255, or more: bool [n, C]."""
    return (found.max((1, 2)) >= 255) | (found.min((1, 2)) <= 0)


def _best_rotations(found, goal):
    """Quarter turns after which each block is nearest to its goal, the fewest of equals: [n]."""
    errors = [
        np.sum((np.rot90(found, turns, (1, 2)) - goal) ** 2, axis=(1, 2, 3)) for turns in range(4)
    ]
    return np.argmin(errors, axis=0)


def _rotated(found, rotations):
    """Turns each block by so many quarters."""
    turned = np.stack([np.rot90(found, turns, (1, 2)) for turns in range(4)])
    return turned[rotations % 4, np.arange(len(found))]
