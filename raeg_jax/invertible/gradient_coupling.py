"""The gradient coupling: an attack that runs backwards exactly (our own addition).

A round changes the samples of a mask by a function of the others. It fills the mask from its
surroundings, asks the conditioner how the filled image should change, and shifts the masked samples
that way by whole numbers. The next round has other samples. As nothing depends on what is being
changed, each round is undone by computing the same shift again:

    xh = where(mask, fill(x), x)
    s  = clip(round(c u / rms(u)), -m, m),   u = conditioner(xh)
    y  = x + s where masked,   x = y - s

All of it is computed in integers, so what is exact is only up to the conditioner.

The conditioner is best a whole attack on the filled image, of which a round carries out the masked
part, scaled to the root mean square c. Many rounds of short gradient steps are weaker: their fill
can't know what earlier rounds did to the masked samples. A pattern that hangs on the label alone is
a conditioner, too (`attacks.shortcut`).

Each shift is limited by the range of the neighbours, so that hardly a value leaves 0..255; those
that do are clipped in an 8-bit file, and recovery needs them from elsewhere.
"""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from raeg_jax.image import integers
from raeg_jax.image.metrics import mse
from raeg_jax.invertible.fill import fill
from raeg_jax.invertible.masks import MASKS, in_turn

# (filled images float32 [B, H, W, 3], labels int32 [B]) -> direction in pixel units, float32 of the
# same shape as the images; what counts are its sixteenths, up to 255. Where it has an attribute
# `portable` that is true, it is the same on every machine.
Conditioner = Callable[[jax.Array, jax.Array], jax.Array]

_DIRECTION_PARTS = 16
# Of a full shift, in 1, and the most that is left of it before it is bounded.
_SHIFT_PARTS, _MOST_SHIFT = 128, 2**24
# Of the share of samples that are masked, or rather its root, in 1.
_SHARE_PARTS = 512
# The last round of an image goes so many of these parts of the way.
PARTS = 32


@flax.struct.dataclass
class Code:
    """What recovery must know of each image beside its pixels.

    Attributes:
      label: int32 [B], the class that the attack was told.
      rounds: int32 [B], how many rounds were run.
      part: int32 [B], how many of `PARTS` the last of them went.
    """

    label: jax.Array
    rounds: jax.Array
    part: jax.Array


@flax.struct.dataclass
class GradientCoupling:
    """Rounds of shifts on integers, until each image is as far from its original as asked.

    Attributes:
      conditioner: any deterministic function of the filled image and the label; a pytree.
      step: c, the root mean square of a full shift before rounding, in pixel units.
      max_mse: mean squared error to stop at, in squared pixel units.
      rounds: most rounds that an image can have.
      bound: m, most that one round changes a value by.
      margin: what a shift must leave between the neighbours' range and the ends of 0..255.
      mask: key of `MASKS`.
      token_planes: planes of the secret token, which chooses the round in which each sample is
        masked; 0 for none.
    """

    conditioner: Any
    step: jax.Array | float
    max_mse: jax.Array | float
    rounds: int = flax.struct.field(pytree_node=False, default=16)
    bound: int = flax.struct.field(pytree_node=False, default=64)
    margin: int = flax.struct.field(pytree_node=False, default=8)
    mask: str = flax.struct.field(pytree_node=False, default="diagonal")
    token_planes: int = flax.struct.field(pytree_node=False, default=0)

    exact = True

    @property
    def portable(self) -> bool:
        """Whether any machine undoes what another one did, bit for bit."""
        return getattr(self.conditioner, "portable", False)

    def forward(
        self,
        x: jax.Array,
        labels: jax.Array,
        reference: jax.Array,
        token: jax.Array | None = None,
        free: jax.Array | None = None,
    ) -> tuple[jax.Array, Code]:
        """Shifts each image.

        Args:
          x: integers as float32 [B, H, W, 3].
          labels: int32 [B].
          reference: float32 [B, H, W, 3] in pixel units, from which distance is measured.
          token: +1 and -1, [B, H, W, P]; None where P is 0.
          free: bool [B, H, W, 1], which pixels may change, and of which the error is the mean; None
            for all.

        Returns:
          The images, integers as float32, a few of them perhaps outside 0..255, and their code. An
          image that is not far enough after all rounds stays nearer; one that is too far from the
          start gets one round, or a part of it that does not take it further.
        """
        max_mse = self.max_mse * (1.0 if free is None else jnp.mean(free, axis=(1, 2, 3)))

        def run(carry, index):
            return jax.lax.cond(carry[-1].any(), advance, lambda c, _: c, carry, index), None

        def advance(carry, index):
            x, code, active = carry
            shifted = self._shift(x, labels, index, token, free)
            full = jnp.full_like(code.part, PARTS)
            ends = active & (_mse(shifted(full), reference) > max_mse)
            part = jnp.where(ends, self._part(shifted, full, reference, max_mse), full)
            x = jnp.where(active[:, None, None, None], shifted(part), x)
            code = code.replace(
                rounds=jnp.where(active, index + 1, code.rounds),
                part=jnp.where(ends, part, code.part),
            )
            return x, code, active & ~ends

        zeros = jnp.zeros_like(labels)
        start = x.astype(jnp.int32), Code(labels, zeros, zeros + PARTS), zeros == 0
        (y, code, _), _ = jax.lax.scan(run, start, jnp.arange(self.rounds, dtype=jnp.int32))
        return y.astype(jnp.float32), code

    def inverse(
        self,
        y: jax.Array,
        code: Code,
        token: jax.Array | None = None,
        free: jax.Array | None = None,
    ) -> jax.Array:
        """Undoes `forward`: the same lines, read from the last round to the first."""

        def run(y, index):
            return jax.lax.cond(jnp.any(index < code.rounds), undo, lambda y, _: y, y, index), None

        def undo(y, index):
            part = jnp.where(index == code.rounds - 1, code.part, PARTS)
            part = jnp.where(index < code.rounds, part, 0)
            return self._shift(y, code.label, index, token, free)(part, sign=-1)

        rounds = jnp.arange(self.rounds, dtype=jnp.int32)
        x, _ = jax.lax.scan(run, y.astype(jnp.int32), rounds, reverse=True)
        return x.astype(jnp.float32)

    def _shift(self, x, labels, index, token, free):
        """One round, still open how far and which way: (part int32 [B], sign) -> images."""
        masks = MASKS[self.mask](*x.shape[1:3])
        mask = in_turn(masks, index, token)
        mask = mask if free is None else mask & free
        known = fill(x, mask)
        seen = jnp.clip(known.image, 0, 255).astype(jnp.float32)
        raw = self._full(self._direction(seen, labels), mask)
        # Saturated areas only go where there is room.
        down = jnp.maximum(known.low - self.margin, 0)
        up = jnp.maximum(255 - self.margin - known.high, 0)

        def shifted(part, sign=1):
            shift = integers.divide(raw * part[:, None, None, None], PARTS * _SHIFT_PARTS)
            shift = jnp.clip(jnp.clip(shift, -self.bound, self.bound), -down, up)
            return x + sign * jnp.where(mask, shift, 0)

        return shifted

    def _direction(self, seen, labels):
        """The conditioner's, in sixteenths: int32."""
        # Behind barriers, a float conditioner compiles alike in forward and inverse.
        seen = jax.lax.optimization_barrier(seen)
        direction = jax.lax.optimization_barrier(self.conditioner(seen, labels))
        whole = jnp.round(direction * _DIRECTION_PARTS)
        return jnp.clip(whole, -integers.LIMIT, integers.LIMIT).astype(jnp.int32)

    def _full(self, direction, mask):
        """A full shift, int32: the direction on the mask, its root mean square there being c."""
        direction = jnp.where(mask, direction, 0)
        # A mean of squares also counts what is not masked.
        share = integers.rms(jnp.where(mask, _SHARE_PARTS, jnp.zeros_like(direction)))
        length = jnp.round(jnp.float32(self.step) * (_SHIFT_PARTS * integers.RMS_PARTS))
        length = integers.divide(
            length.astype(jnp.int32) * share, _SHARE_PARTS * integers.RMS_PARTS
        )
        return jnp.clip(integers.to_rms(direction, length), -_MOST_SHIFT, _MOST_SHIFT)

    def _part(self, shifted, full, reference, max_mse):
        """The parts after which each image's error is nearest to the asked one, in decibels.

        None of them (0) leaves the image as the round before did.
        """
        errors = jax.lax.map(
            lambda k: _mse(shifted(k + 0 * full), reference), jnp.arange(PARTS + 1)
        )
        ratio = jnp.log(jnp.maximum(errors, 1e-9) / max_mse)
        return jnp.argmin(jnp.abs(ratio), axis=0).astype(full.dtype)


def _mse(x, reference):
    """As an 8-bit file will have it: [B]."""
    return mse(jnp.clip(x, 0, 255).astype(jnp.float32), reference)
