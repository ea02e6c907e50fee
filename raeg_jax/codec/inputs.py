"""What can be protected and recovered exactly, and by which generators."""

import numpy as np

from raeg_jax.codec.bundle import Bundle
from raeg_jax.errors import UserError
from raeg_jax.payload.payload import MAX_SIDE


def check_exact(bundle: Bundle) -> None:
    """Refuses generators of fractions, which rounding to 8 bits loses for good.

    Raises:
      UserError: a float coupling.
    """
    if not bundle.chain.exact:
        raise UserError(
            f"a generator with config.generator.coupling={bundle.config.generator.coupling!r} "
            "can't be undone exactly: use one with 'integer' couplings, or without a learned stage"
        )


def check_image(image: np.ndarray, index: int) -> None:
    """Refuses what can't be protected or recovered.

    Raises:
      UserError: not uint8 [H, W, 3], or without pixels.
    """
    if not isinstance(image, np.ndarray):
        raise UserError(f"image {index} is {type(image).__name__}, not a NumPy array")
    sides = image.shape[:2]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in sides:
        raise UserError(
            f"image {index} is {image.dtype} {list(image.shape)}: convert it to uint8 [H, W, 3], "
            "RGB from 0 to 255"
        )
    if max(sides) > MAX_SIDE:
        raise UserError(
            f"image {index} has {sides[1]} x {sides[0]} pixels: sides have at most {MAX_SIDE}, "
            "split it first"
        )
