"""RAE: the perturbation itself is hidden in the image that it made adversarial.

Liu et al. (2018), Unauthorized AI cannot Recognize Me: Reversible Adversarial Example, arXiv
1811.00189. Our choices: the attack knows of the superpixels, so that the averaged perturbation
misleads as well as the one that was found; each channel has its own value, coded by the shortest of
three coders (`coding`); the perturbation is that before clipping, with what was cut off at 0 and
255 listed in the payload as that of generators is; hiding is that of generators, too.
"""

import dataclasses

import jax
import numpy as np

from raeg_jax.attacks.gradient import LogitsFn
from raeg_jax.baselines import coding, superpixels
from raeg_jax.baselines.method import Disguised, check_sides
from raeg_jax.payload import coding as coding_lib
from raeg_jax.payload import overflow


@dataclasses.dataclass(frozen=True)
class RAE:
    """The method; see `Method`.

    Auxiliary data: the side, a byte, and the perturbation, [ceil(H / s), ceil(W / s), 3] as
    `coding` writes it.

    Attributes:
      sides: of the superpixels, in pixels, 1 to 255. With 2 hiding takes nearly all of what 34 dB
        allow.

    Raises:
      UserError: another side.
    """

    sides: tuple[int, ...] = (4, 8, 16)
    name = "rae"

    def __post_init__(self):
        check_sides(self.sides)

    def seen_by(self, logits_fn: LogitsFn, images: jax.Array, side: int) -> LogitsFn:
        return superpixels.OnSuperpixels(logits_fn, images, side)

    def disguise(self, original: np.ndarray, attacked: np.ndarray, side: int) -> Disguised:
        found = superpixels.means(attacked - original, side)
        low, high = superpixels.extremes(original, side)
        # More than this changes nothing, as all samples are 0 or 255 by then.
        perturbation = np.clip(np.rint(found).astype(np.int32), -high.astype(int), 255 - low)
        values = original + superpixels.spread(perturbation, *original.shape[:2], side)
        auxiliary = bytes([side]) + coding.encode(perturbation)
        return Disguised(overflow.clip(values)[0], values, auxiliary)

    @staticmethod
    def reveal(values: np.ndarray, auxiliary: bytes) -> np.ndarray:
        data = coding_lib.ByteReader(auxiliary)
        height, width = values.shape[:2]
        (side,) = data.take(1)
        if not side:
            raise ValueError("superpixels without a side")
        shape = -(-height // side), -(-width // side), 3
        perturbation = coding.decode(data, int(np.prod(shape))).reshape(shape)
        if rest := data.rest():
            raise ValueError(f"{len(rest)} bytes too many")
        return values - superpixels.spread(perturbation, height, width, side)
