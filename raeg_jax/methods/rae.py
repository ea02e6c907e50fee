"""RAE: the perturbation itself is hidden in the image that it made adversarial.

Liu et al. (2018), Unauthorized AI cannot Recognize Me: Reversible Adversarial Example, arXiv
1811.00189: attack, average the perturbation over superpixels, hide it reversibly in the adversarial
image; recovery extracts it and subtracts it. Our choices:

- the attack knows of the superpixels, so that the averaged perturbation misleads classifiers as
  well as the one that was found;
- each channel has a value of its own, coded by the shortest of three coders (`coding`);
- the perturbation is that before clipping; what was cut off at 0 and 255 is listed in the payload,
  and the payload is hidden, as with generators.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from raeg_jax.config.rules import Each, Number, Rule
from raeg_jax.methods import coding, superpixels
from raeg_jax.methods.transform import Transform, Transformed
from raeg_jax.payload import coding as coding_lib


@dataclasses.dataclass(frozen=True)
class RAE(Transform):
    """The transform of RAE; see `Transform`.

    Auxiliary data: the side s, a byte, and the perturbation, [ceil(H / s), ceil(W / s), 3] as
    `coding` writes it.

    Attributes:
      sides: of the superpixels, in pixels, 1 to 255. With 2 hiding takes nearly all of what 34 dB
        allow.
    """

    sides: tuple[int, ...] = (4, 8, 16)
    name = "rae"
    rules: ClassVar[dict[str, Rule]] = {"sides": Each(Number(1, 255, whole=True))}
    aware = True

    def apply(self, original: np.ndarray, attacked: np.ndarray, side: int) -> Transformed:
        mean_change = superpixels.means(attacked - original, side)
        low, high = superpixels.extremes(original, side)
        # More than this changes nothing, as all samples are 0 or 255 by then.
        perturbation = np.clip(np.rint(mean_change).astype(np.int32), -high.astype(int), 255 - low)
        values = original + superpixels.spread(perturbation, original.shape[:2], side)
        auxiliary = bytes([side]) + coding.encode(perturbation)
        return Transformed(np.clip(values, 0, 255).astype(np.uint8), values, auxiliary)

    @staticmethod
    def invert(values: np.ndarray, auxiliary: bytes) -> np.ndarray:
        data = coding_lib.ByteReader(auxiliary)
        height, width = values.shape[:2]
        (side,) = data.take(1)
        if not side:
            raise ValueError("superpixels without a side")
        shape = -(-height // side), -(-width // side), 3
        perturbation = coding.decode(data, int(np.prod(shape))).reshape(shape)
        if rest := data.rest():
            raise ValueError(f"{len(rest)} bytes too many")
        return values - superpixels.spread(perturbation, (height, width), side)
