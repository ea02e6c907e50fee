"""RIT: the original itself is turned into an image that looks like an adversarial one.

Yin et al. (2019), Reversible Adversarial Attack based on Reversible Image Transformation, arXiv
1911.02360, after Hou et al. (2016), Reversible visual transformation via exploring the correlations
within color images. Blocks of the original go where the adversarial image has blocks of the same
class, have their mean shifted in steps, and are rotated. Where that leaves 0..255, the shift is
limited, and what still does is in the payload as with generators.

Our choices: classes by the variance over all channels, and one rotation for all of them; a block
whose own place is one of its class stays there (`stay`), which the decoder can tell; thresholds of
rotations and of what is limited at 0 and 255.

An adversarial image is near its original, so there each block resembles none as much as itself:
with one class, where all stay and are only shifted and rotated, less is lost and hidden than with
several. Of the perturbation little more than each block's mean is left: less with blocks of 4
pixels than with 2, and more where the attack knows of it (`aware`). These are the defaults; the
paper's are `RIT((4,), classes=K, stay=False, aware=False)`.
"""

import dataclasses

import jax
import numpy as np

from raeg_jax.attacks.gradient import LogitsFn
from raeg_jax.baselines import blocks, coding, superpixels
from raeg_jax.baselines.method import Disguised, check_sides, is_byte
from raeg_jax.errors import UserError
from raeg_jax.payload import coding as coding_lib

_TURNS = 4


@dataclasses.dataclass(frozen=True)
class RIT:
    """The method; see `Method`.

    Auxiliary data: five bytes (side, classes, quantum, smooth, stay), the number of blocks in each
    class (LEB128), then as `coding` writes them by how much the class of each block is above that
    of the block now in its place, modulo the number of classes; and of each place, in scan order,
    the shift of each channel in quanta, the corrections that keep it within 0..255 where there can
    be any, and the rotation where the block isn't smooth.

    Attributes:
      sides: of the blocks, in pixels, 1 to 255. With 1 only the shift is left.
      classes: of blocks, 1 to 255.
      quantum: step of the shift, in pixel units, 1 to 255.
      limit: by how much shifts are reduced at most to stay within 0..255, in pixel units.
      smooth: blocks of a smaller standard deviation (of all channels together) aren't rotated; in
        pixel units, 0 to 255.
      stay: blocks may stay where they are; False pairs them as the paper does.
      aware: the attack knows that of each block it is mostly the mean that can change; False
        attacks as the paper does.

    Raises:
      UserError: an impossible value.
    """

    sides: tuple[int, ...] = (2, 4)
    classes: int = 1
    quantum: int = 8
    limit: int = 8
    smooth: int = 6
    stay: bool = True
    aware: bool = True
    name = "rit"

    def __post_init__(self):
        check_sides(self.sides)
        for name, least in {"classes": 1, "quantum": 1, "limit": 0, "smooth": 0}.items():
            value = getattr(self, name)
            if not is_byte(value, least):
                raise UserError(f"{name}={value!r} is impossible: it must be {least} to 255")
        for name in ("stay", "aware"):
            if getattr(self, name) not in (True, False):
                raise UserError(f"{name}={getattr(self, name)!r} is impossible: True or False")

    def seen_by(self, logits_fn: LogitsFn, images: jax.Array, side: int) -> LogitsFn:
        return superpixels.OnSuperpixels(logits_fn, images, side) if self.aware else logits_fn

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
            (kinds - there) % self.classes,
            quanta,
            corrections[_at_the_ends(found)],
            rotations[_rough(found, self.smooth)],
        )
        numbers = b"".join(coding_lib.write_varint(int(count)) for count in counts)
        auxiliary = settings + numbers + b"".join(map(coding.encode, parts))
        return Disguised(adversarial, blocks.paste(found, original.astype(np.int32)), auxiliary)

    def _corrections(self, found):
        """What keeps shifted blocks within 0..255, or nearer to it: [n, C]."""
        low, high = found.min((1, 2)), found.max((1, 2))
        down = -np.minimum(high - 255, self.limit)
        return np.where(high >= 255, down, np.where(low <= 0, np.minimum(-low, self.limit), 0))

    @staticmethod
    def reveal(values: np.ndarray, auxiliary: bytes) -> np.ndarray:
        data = coding_lib.ByteReader(auxiliary)
        side, classes, quantum, smooth, stay = data.take(5)
        if not (side and classes and quantum) or stay > 1:
            raise ValueError("a setting is out of range")
        found = blocks.cut(values, side)
        rough, ends = _rough(found, smooth), _at_the_ends(found)
        counts = [data.next() for _ in range(classes)]
        if sum(counts) != len(found):
            raise ValueError(f"classes of {sum(counts)} blocks, and there are {len(found)}")
        there = blocks.classify_alike(blocks.variances(found), np.array(counts))
        kinds = (_below(coding.decode(data, len(found)), classes) + there) % classes
        if np.any(np.bincount(kinds, minlength=classes) != counts):
            raise ValueError("classes have other numbers of blocks than of places")
        shifts = quantum * coding.decode(data, 3 * len(found)).reshape(-1, 3)
        shifts[ends] += coding.decode(data, int(ends.sum()))
        rotations = np.zeros(len(found), np.int64)
        rotations[rough] = _below(coding.decode(data, int(rough.sum())), _TURNS)
        if rest := data.rest():
            raise ValueError(f"{len(rest)} bytes too many")
        own = _rotated(found, -rotations) - shifts[:, None, None]
        return blocks.paste(own[blocks.places(kinds, there, bool(stay))], values.astype(np.int64))


def _below(values, end):
    """The same values, all of 0 to `end` - 1."""
    if len(values) and not (values.min() >= 0 and values.max() < end):
        raise ValueError(f"a value of {values.min()} to {values.max()} is not in 0 to {end - 1}")
    return values


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
        np.sum((np.rot90(found, turns, (1, 2)) - goal) ** 2, axis=(1, 2, 3))
        for turns in range(_TURNS)
    ]
    return np.argmin(errors, axis=0)


def _rotated(found, rotations):
    """Turns each block by so many quarters."""
    turned = found.copy()
    for turns in range(1, _TURNS):
        chosen = rotations % _TURNS == turns
        turned[chosen] = np.rot90(found[chosen], turns, (1, 2))
    return turned
