"""RIT: the original itself is turned into an image that looks like an adversarial one.

Yin et al. (2019), Reversible Adversarial Attack based on Reversible Image Transformation, arXiv
1911.02360, after Hou et al. (2016), Reversible visual transformation via exploring the correlations
within color images. Blocks of the original move to places where the adversarial image has blocks of
the same class, have their mean shifted in steps, and are rotated. Where a shift leaves 0..255 it is
limited; what still leaves the range is in the payload, as with generators.

Our choices:

- classes by the variance over all channels, and one rotation for all channels;
- a block whose own place is of its class stays there (`stay`), which the decoder can tell;
- the thresholds of rotations and of limited shifts;
- the attack knows that little but each block's mean can change (`aware`);
- by default one class, and blocks of 2 pixels: an adversarial image is near its original, so a
  block resembles no other as much as itself. Where all blocks stay and are only shifted and
  rotated, less is lost and hidden than with several classes; of the perturbation more is left in
  the means of blocks of 2 pixels than of 4.

The paper's method is `RIT((4,), classes=K, stay=False, aware=False)`.

Variances are whole numbers that a shift, a rotation or another place doesn't change, so the
transformed image shows the class of the block at each place. With the class of each original block,
which is in the auxiliary data, the permutation is known.
"""

import dataclasses
import warnings
from typing import ClassVar

import numpy as np
from scipy.cluster.vq import kmeans2

from raeg_jax.config.rules import SWITCH, Each, Number, Rule
from raeg_jax.methods import coding
from raeg_jax.methods.transform import Transform, Transformed
from raeg_jax.payload import coding as coding_lib

_ROTATIONS = 4


@dataclasses.dataclass(frozen=True)
class RIT(Transform):
    """The transform of RIT; see `Transform`.

    Auxiliary data: five bytes (side, classes, quantum, smooth, stay), the number of blocks in each
    class (LEB128), then four lists that `coding` writes: by how much the class of each block is
    above that of the block now in its place, modulo the number of classes; and of each place, in
    scan order, the shift of each channel in quanta, the correction of the shift where there can be
    one, and the rotation where the block isn't smooth.

    Attributes:
      sides: of the blocks, in pixels, 1 to 255. With 1 only the shift is left.
      classes: of blocks, 1 to 255.
      quantum: step of the shift, in pixel units, 1 to 255.
      limit: by how much shifts are reduced at most to stay within 0..255, in pixel units.
      smooth: blocks of a smaller standard deviation (of all channels together) aren't rotated; in
        pixel units, 0 to 255.
      stay: blocks may stay where they are; False pairs all blocks with places, as the paper does.
      aware: the attack knows that little but each block's mean can change; False attacks as the
        paper does.
    """

    sides: tuple[int, ...] = (2, 4)
    classes: int = 1
    quantum: int = 8
    limit: int = 8
    smooth: int = 6
    stay: bool = True
    aware: bool = True
    name = "rit"
    rules: ClassVar[dict[str, Rule]] = {
        "sides": Each(Number(1, 255, whole=True)),
        "classes": Number(1, 255, whole=True),
        "quantum": Number(1, 255, whole=True),
        "limit": Number(0, 255, whole=True),
        "smooth": Number(0, 255, whole=True),
        "stay": SWITCH,
        "aware": SWITCH,
    }

    def apply(self, original: np.ndarray, attacked: np.ndarray, side: int) -> Transformed:
        adversarial = np.clip(np.rint(attacked), 0, 255).astype(np.uint8)
        sources = cut_blocks(original, side).astype(np.int32)
        goals = cut_blocks(adversarial, side).astype(np.int32)
        classes = classify(variances(sources), self.classes)
        counts = np.bincount(classes, minlength=self.classes)
        place_classes = classify_by_rank(variances(goals), counts)
        moved = np.empty_like(sources)
        moved[destinations(classes, place_classes, self.stay)] = sources
        shifts = goals.mean((1, 2)) - moved.mean((1, 2))
        quanta = np.rint(shifts / self.quantum).astype(np.int32)
        moved += self.quantum * quanta[:, None, None]
        corrections = self._corrections(moved)
        moved += corrections[:, None, None]
        rough = _rough(moved, self.smooth)
        rotations = _best_rotations(moved, goals) * rough
        moved = _rotate(moved, rotations)
        settings = bytes([side, self.classes, self.quantum, self.smooth, self.stay])
        lists = (
            (classes - place_classes) % self.classes,
            quanta,
            corrections[_saturated(moved)],
            rotations[rough],
        )
        numbers = b"".join(coding_lib.write_varint(int(count)) for count in counts)
        auxiliary = settings + numbers + b"".join(map(coding.encode, lists))
        return Transformed(adversarial, paste_blocks(moved, original.astype(np.int32)), auxiliary)

    def _corrections(self, moved):
        """What brings shifted blocks back into 0..255, or nearer to it: [n, C]."""
        low, high = moved.min((1, 2)), moved.max((1, 2))
        down = -np.minimum(high - 255, self.limit)
        return np.where(high >= 255, down, np.where(low <= 0, np.minimum(-low, self.limit), 0))

    @staticmethod
    def invert(values: np.ndarray, auxiliary: bytes) -> np.ndarray:
        data = coding_lib.ByteReader(auxiliary)
        side, classes, quantum, smooth, stay = data.take(5)
        if not (side and classes and quantum) or stay > 1:
            raise ValueError("a setting is out of range")
        moved = cut_blocks(values, side)
        rough, saturated = _rough(moved, smooth), _saturated(moved)
        counts = [data.next() for _ in range(classes)]
        if sum(counts) != len(moved):
            raise ValueError(f"classes of {sum(counts)} blocks, and there are {len(moved)}")
        place_classes = classify_by_rank(variances(moved), np.array(counts))
        above = _decode_below(data, len(moved), classes)
        block_classes = (above + place_classes) % classes
        if np.any(np.bincount(block_classes, minlength=classes) != counts):
            raise ValueError("classes have other numbers of blocks than of places")
        shifts = quantum * coding.decode(data, 3 * len(moved)).reshape(-1, 3)
        shifts[saturated] += coding.decode(data, int(saturated.sum()))
        rotations = np.zeros(len(moved), np.int64)
        rotations[rough] = _decode_below(data, int(rough.sum()), _ROTATIONS)
        if rest := data.rest():
            raise ValueError(f"{len(rest)} bytes too many")
        sources = _rotate(moved, -rotations) - shifts[:, None, None]
        places = destinations(block_classes, place_classes, bool(stay))
        return paste_blocks(sources[places], values.astype(np.int64))


def _decode_below(data, count, end):
    """Decodes so many values, all from 0 to `end` - 1: int64 [count]."""
    values = coding.decode(data, count)
    if count and not (values.min() >= 0 and values.max() < end):
        raise ValueError(f"a value of {values.min()} to {values.max()} is not in 0 to {end - 1}")
    return values


def _rough(moved, smooth):
    """Which blocks may have been rotated, by what rotation doesn't change: bool [n]."""
    pixels = moved.shape[1] * moved.shape[2]
    return variances(moved) > moved.shape[3] * (smooth * pixels) ** 2


def _saturated(moved):
    """Which channels of which blocks reach 0 or 255, or exceed them: bool [n, C]."""
    return (moved.max((1, 2)) >= 255) | (moved.min((1, 2)) <= 0)


def _best_rotations(moved, goals):
    """Quarter turns after which each block is nearest to its goal, the fewest of equals: [n]."""
    errors = [
        np.sum((np.rot90(moved, turns, (1, 2)) - goals) ** 2, axis=(1, 2, 3))
        for turns in range(_ROTATIONS)
    ]
    return np.argmin(errors, axis=0)


def _rotate(moved, rotations):
    """Rotates each block by so many quarter turns."""
    rotated = moved.copy()
    for turns in range(1, _ROTATIONS):
        chosen = rotations % _ROTATIONS == turns
        rotated[chosen] = np.rot90(moved[chosen], turns, (1, 2))
    return rotated


def cut_blocks(image: np.ndarray, side: int) -> np.ndarray:
    """Cuts an image into blocks; leaves out incomplete ones at the right and at the bottom.

    Args:
      image: [H, W, C].
      side: of the blocks, in pixels.

    Returns:
      [n, side, side, C], in rows from the top, from left to right (scan order).
    """
    rows, columns = image.shape[0] // side, image.shape[1] // side
    whole = image[: rows * side, : columns * side]
    parts = whole.reshape(rows, side, columns, side, image.shape[2]).swapaxes(1, 2)
    return parts.reshape(rows * columns, side, side, image.shape[2])


def paste_blocks(blocks: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Undoes `cut_blocks`.

    Args:
      blocks: [n, side, side, C].
      image: [H, W, C], has the pixels outside blocks.

    Returns:
      A copy of the image with these blocks.
    """
    side = blocks.shape[1]
    rows, columns = image.shape[0] // side, image.shape[1] // side
    parts = blocks.reshape(rows, columns, side, side, image.shape[2]).swapaxes(1, 2)
    pasted = image.copy()
    pasted[: rows * side, : columns * side] = parts.reshape(
        rows * side, columns * side, image.shape[2]
    )
    return pasted


def variances(blocks: np.ndarray) -> np.ndarray:
    """Sum over channels of each block's variance, times the squared number of its pixels.

    Args:
      blocks: integers [n, side, side, C].

    Returns:
      int64 [n].
    """
    values = blocks.astype(np.int64)
    squares = blocks.shape[1] ** 2 * np.sum(values**2, axis=(1, 2))
    return np.sum(squares - np.sum(values, axis=(1, 2)) ** 2, axis=-1)


def classify(measures: np.ndarray, classes: int) -> np.ndarray:
    """Classifies blocks by their standard deviation with k-means.

    Args:
      measures: int64 [n], of `variances`.
      classes: greatest number of classes.

    Returns:
      int64 [n], 0 for the smoothest blocks. Of two classes, one has all the greater measures.
    """
    deviations = np.sqrt(measures.astype(float))
    if classes == 1 or not len(measures):
        return np.zeros(len(measures), np.int64)
    centres = np.quantile(np.unique(deviations), (np.arange(classes) + 0.5) / classes)
    with warnings.catch_warnings():
        # Few different values: some classes stay empty.
        warnings.simplefilter("ignore")
        centres = np.sort(kmeans2(deviations[:, None], centres[:, None], minit="matrix")[0][:, 0])
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, deviations)


def classify_by_rank(measures: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Classifies blocks so that each class has a given number of them.

    Args:
      measures: int64 [n], of `variances`.
      counts: int64 [classes], their sum is n.

    Returns:
      int64 [n], 0 for the smoothest blocks.
    """
    classes = np.empty(len(measures), np.int64)
    classes[np.argsort(measures, kind="stable")] = np.repeat(np.arange(len(counts)), counts)
    return classes


def destinations(classes: np.ndarray, place_classes: np.ndarray, stay: bool) -> np.ndarray:
    """Sends each block to a place of its class, in scan order.

    Args:
      classes: int64 [n], of the blocks.
      place_classes: int64 [n], of the places; each class has as many places as blocks.
      stay: blocks whose own place is of their class stay there; else they move with the others.

    Returns:
      int64 [n], a permutation: the place of each block.
    """
    moved = np.flatnonzero(classes != place_classes) if stay else np.arange(len(classes))
    places = np.arange(len(classes))
    sources, goals = (moved[np.argsort(x[moved], kind="stable")] for x in (classes, place_classes))
    places[sources] = goals
    return places
