"""The gradient coupling: an attack that is exactly invertible (our own addition).

A round changes the samples of a mask by a function of the others. It fills the mask from its
surroundings, computes a direction for the filled image with the conditioner, and shifts the masked
samples along it by integers. The next round has another mask. As the shift does not depend on the
samples that it changes, each round is undone by computing the same shift again:

    xh = where(mask, fill(x), x)
    s  = clip(round(c u / rms(u)), -m, m),   u = conditioner(xh)
    y  = x + s where masked,   x = y - s

Everything else is computed in integers, so exactness depends only on the conditioner.

The best conditioner is a complete attack on the filled image, of which a round applies the masked
part, scaled to the root mean square c. Many rounds of short gradient steps are weaker: their fill
contains nothing of what earlier rounds did to the masked samples. A pattern that depends on the
label alone is a conditioner, too (`generator.shortcut`, `generator.learned_pattern`).

Each shift is limited by the range of the neighbours, so that few values leave 0..255; an 8-bit file
clips these, and recovery needs them from the payload.
"""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from raeg_jax.exact import integers
from raeg_jax.generator.class_planes import ClassInfo
from raeg_jax.generator.learned_pattern import Place
from raeg_jax.generator.masking import MASKS, Filled, fill, round_mask
from raeg_jax.image.metrics import mse

# (filled images float32 [B, H, W, 3], labels int32 [B]) -> direction in pixel units, float32 of the
# same shape as the images, used in sixteenths and up to 255. A true attribute `portable` says that
# it is the same on every machine, a true attribute `keyed` that it also takes the token and the
# number of the round, a true attribute `placed` that after these it takes the place.
Conditioner = Callable[..., jax.Array]

_DIRECTION_PARTS = 16
# Fractions of 1 in a full shift, and its greatest magnitude before it is bounded.
_SHIFT_PARTS, _MOST_SHIFT = 128, 2**24
# Fractions of 1 in the square root of the share of masked samples, and of a pixel value in c.
SHARE_PARTS = 512
LENGTH_PARTS = _SHIFT_PARTS * integers.RMS_PARTS
# The last round of an image applies a multiple of 1/32 of its shift.
PARTS = 32


@flax.struct.dataclass
class SideInfo(ClassInfo):
    """What recovery needs of each image beside its pixels: also the class.

    Attributes:
      rounds: int32 [B], the number of rounds.
      part: int32 [B], how many of `PARTS` of its shift the last round applied.
    """

    rounds: jax.Array
    part: jax.Array


@flax.struct.dataclass
class GradientCoupling:
    """Rounds of integer shifts, until each image is at the requested distance from its original.

    Attributes:
      conditioner: any deterministic function of the filled image and the label; a pytree.
      step: c, the root mean square of a full shift before rounding, in pixel units.
      max_mse: mean squared error at which rounds stop, in squared pixel units; of
        `config.generator.gradient.target_psnr` by `generator.build`.
      rounds: greatest number of rounds of an image.
      bound: m, greatest change of a value in one round.
      margin: distance that a shift keeps between the neighbours' range and the ends of 0..255.
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
        """Whether any machine recovers what another one protected, bit for bit."""
        return getattr(self.conditioner, "portable", False)

    @property
    def placed(self) -> bool:
        """Whether shifts depend on where an image lies in its photograph."""
        return getattr(self.conditioner, "placed", False)

    def forward(
        self,
        x: jax.Array,
        labels: jax.Array,
        reference: jax.Array,
        token: jax.Array | None = None,
        editable: jax.Array | None = None,
        place: Place | None = None,
    ) -> tuple[jax.Array, SideInfo]:
        """Shifts each image.

        Args:
          x: integers as float32 [B, H, W, 3].
          labels: int32 [B].
          reference: float32 [B, H, W, 3] in pixel units, the originals that errors refer to.
          token: +1 and -1, [B, H, W, P]; None where P is 0.
          editable: bool [B, H, W, 1], the pixels that may change, over which the error is averaged;
            None for all.
          place: of the images; None where they are whole, and for conditioners that take none.

        Returns:
          The images, integers as float32, a few of them perhaps outside 0..255, and their side
          information. An image that does not reach `max_mse` in all rounds stays below it; one that
          exceeds it from the start gets one round, or a part that does not increase its error.
        """
        max_mse = self.max_mse * (1.0 if editable is None else jnp.mean(editable, axis=(1, 2, 3)))

        def run(carry, index):
            return jax.lax.cond(carry[-1].any(), advance, lambda c, _: c, carry, index), None

        def advance(carry, index):
            x, info, active = carry
            shifted = self._shift(x, labels, index, token, editable, place)
            full = jnp.full_like(info.part, PARTS)
            ends = active & (_mse(shifted(full), reference) > max_mse)
            part = jnp.where(ends, self._part(shifted, full, reference, max_mse), full)
            x = jnp.where(active[:, None, None, None], shifted(part), x)
            info = info.replace(
                rounds=jnp.where(active, index + 1, info.rounds),
                part=jnp.where(ends, part, info.part),
            )
            return x, info, active & ~ends

        zeros = jnp.zeros_like(labels)
        start = x.astype(jnp.int32), SideInfo(labels, zeros, zeros + PARTS), zeros == 0
        (y, info, _), _ = jax.lax.scan(run, start, jnp.arange(self.rounds, dtype=jnp.int32))
        return y.astype(jnp.float32), info

    def inverse(
        self,
        y: jax.Array,
        side_info: SideInfo,
        token: jax.Array | None = None,
        editable: jax.Array | None = None,
        place: Place | None = None,
    ) -> jax.Array:
        """Undoes `forward`, from the last round to the first."""
        info = side_info

        def run(y, index):
            return jax.lax.cond(jnp.any(index < info.rounds), undo, lambda y, _: y, y, index), None

        def undo(y, index):
            part = jnp.where(index == info.rounds - 1, info.part, PARTS)
            part = jnp.where(index < info.rounds, part, 0)
            return self._shift(y, info.label, index, token, editable, place)(part, sign=-1)

        rounds = jnp.arange(self.rounds, dtype=jnp.int32)
        x, _ = jax.lax.scan(run, y.astype(jnp.int32), rounds, reverse=True)
        return x.astype(jnp.float32)

    def _shift(self, x, labels, index, token, editable, place):
        """The function of one round: (part int32 [B], sign) -> images shifted by part and sign."""
        masks = MASKS[self.mask](*x.shape[1:3])
        mask = round_mask(masks, index, token)
        mask = mask if editable is None else mask & editable
        filled = fill(x, mask)
        image = jnp.clip(filled.image, 0, 255).astype(jnp.float32)
        raw = self._full_shift(self._direction(image, labels, token, index, place), mask)
        room = self.room(filled)

        def shifted(part, sign=1):
            shift = self.limited(raw, part[:, None, None, None], room)
            return x + sign * jnp.where(mask, shift, 0)

        return shifted

    def room(self, filled: Filled) -> tuple[jax.Array, jax.Array]:
        """How far samples may move down and up: those of saturated areas only away from the ends.

        Args:
          filled: int32 [B, H, W, C].

        Returns:
          Two of int32 [B, H, W, C], at least 0.
        """
        down = jnp.maximum(filled.low - self.margin, 0)
        return down, jnp.maximum(255 - self.margin - filled.high, 0)

    def limited(
        self, raw: jax.Array, part: jax.Array, room: tuple[jax.Array, jax.Array]
    ) -> jax.Array:
        """The shift of a round, int32.

        Args:
          raw: full shifts before they are limited, int32, from `raw_shift`.
          part: how many of `PARTS` of them to apply, int32 from 0.
          room: from `room`.
        """
        shift = integers.divide(raw * part, PARTS * _SHIFT_PARTS)
        shift = jnp.clip(shift, -self.bound, self.bound)
        return jnp.clip(shift, -room[0], room[1])

    def _direction(self, image, labels, token, index, place):
        """The conditioner's direction in sixteenths: int32."""
        # Between barriers, a float conditioner compiles alike in forward and inverse.
        image = jax.lax.optimization_barrier(image)
        more = (token, index) if getattr(self.conditioner, "keyed", False) else ()
        more += (place,) if self.placed else ()
        direction = jax.lax.optimization_barrier(self.conditioner(image, labels, *more))
        sixteenths = jnp.round(direction * _DIRECTION_PARTS)
        return jnp.clip(sixteenths, -integers.LIMIT, integers.LIMIT).astype(jnp.int32)

    def _full_shift(self, direction, mask):
        """A full shift, int32: the direction on the mask, with a root mean square of c there."""
        direction = jnp.where(mask, direction, 0)
        # `integers.rms` averages over all samples, masked or not.
        share = integers.rms(jnp.where(mask, SHARE_PARTS, jnp.zeros_like(direction)))
        length = jnp.round(jnp.float32(self.step) * LENGTH_PARTS).astype(jnp.int32)
        return raw_shift(direction, integers.rms(direction), share, length)

    def _part(self, shifted, full, reference, max_mse):
        """The part of the shift, 0 to `PARTS`, with the error nearest to `max_mse` in decibels."""
        errors = jax.lax.map(
            lambda k: _mse(shifted(k + 0 * full), reference), jnp.arange(PARTS + 1)
        )
        ratio = jnp.log(jnp.maximum(errors, 1e-9) / max_mse)
        return jnp.argmin(jnp.abs(ratio), axis=0).astype(full.dtype)


def raw_shift(
    direction: jax.Array, rms: jax.Array, share: jax.Array, length: jax.Array
) -> jax.Array:
    """A full shift before it is limited, in 128ths, with a root mean square of c on the mask.

    Args:
      direction: int32, 0 outside the mask.
      rms: of the direction over all samples, in eighths.
      share: root mean square of a mask of `SHARE_PARTS`, in eighths.
      length: c, in 1,024ths.
    """
    length = integers.divide(length * share, SHARE_PARTS * integers.RMS_PARTS)
    shift = integers.divide(direction * length, rms)
    return jnp.clip(shift, -_MOST_SHIFT, _MOST_SHIFT)


def _mse(x, reference):
    """Mean squared error after clipping to 0..255, as in an 8-bit file: [B]."""
    return mse(jnp.clip(x, 0, 255).astype(jnp.float32), reference)
