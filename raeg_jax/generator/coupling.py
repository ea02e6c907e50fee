"""Coupling layers: one half of the channels is changed by a function of the other, then swapped.

    x = (a, b)    c = f(a; b)      b = g^-1(d; c)
                  d = g(b; c)      a = f^-1(c; b)       y = (c, d)

f and g are *updates*: elementwise invertible maps whose parameters a conditioner computes from
the other half. A variant is a pair of updates, so the registry `COUPLINGS` is a table;
docs/couplings.md adds one.
"""

import functools
import math
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from raeg_jax.generator.conditioner import FIXED, FLOAT, Arithmetic
from raeg_jax.image.quantise import round_ste

# Inputs and outputs of conditioners are of the order of one; pixels span 0..255.
_PIXELS_IN = 64.0
_PIXELS_OUT = 8.0
# With this factor, one unit scales a mid-grey 128 by as much as it shifts it. The scale multiplies
# numbers in the hundreds: otherwise its gradients would outweigh those of the shift.
_LOG_OUT = 1.0 / 16.0

# (number of output channels, arithmetic) -> network
MakeConditioner = Callable[..., nn.Module]


# From all numbers to -1..1, as FrEIA offers them; their slopes at 0 are 1, 2 / pi and 1 / 2.
CLAMPINGS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "tanh": jnp.tanh,
    "atan": lambda x: jnp.arctan(x) * (2 / math.pi),
    "sigmoid": lambda x: 2 * (jax.nn.sigmoid(x) - 0.5),
}


class Update(nn.Module):
    """An elementwise invertible map of h, given the other half `by`.

    Attributes:
      conditioner: makes the network(s) that compute shift and scale.
      clamp: bound on |log scale|.
      gain: size of the coefficients at this level, relative to pixels.
      clamping: key of `CLAMPINGS`, the function that keeps log scales within `clamp`.
      preserves_volume: whether the determinant of its Jacobian is 1.

    A subclass has `forward(h, by, mask, planes)` and `inverse` of the same arguments. `mask` is 1
    where a coefficient may change and 0 where it must not; `planes`, inputs of the conditioner
    beside `by`, are those of token and class, +1 and -1, of the same height and width, or None.
    """

    conditioner: MakeConditioner
    clamp: float = 1.0
    gain: float = 1.0
    clamping: str = "tanh"
    preserves_volume: ClassVar[bool] = False

    def compute(
        self, network: "Sized", like: jax.Array, by: jax.Array, planes: jax.Array | None, count=1
    ) -> list[jax.Array]:
        """`count` arrays of the shape of `like` that a network computes from `by` and the planes.

        They are of the order of one, and zero in a fresh generator.
        """
        inputs = by / (_PIXELS_IN * self.gain)
        if planes is not None:
            inputs = jnp.concatenate([inputs, planes], axis=-1)
        return jnp.split(network(inputs, count * like.shape[-1]), count, axis=-1)

    def to_shift(self, raw: jax.Array, mask: jax.Array | float) -> jax.Array:
        """What a network computed, as a shift in the coefficients' units; 0 where masked."""
        return raw * (_PIXELS_OUT * self.gain) * mask

    def to_log_scale(self, raw: jax.Array, mask: jax.Array | float) -> jax.Array:
        """What a network computed, as a log scale within `clamp`; 0 where masked."""
        return self.clamp * CLAMPINGS[self.clamping](raw * (_LOG_OUT / self.clamp)) * mask


class Shift(Update):
    """h' = h + t(by); volume-preserving (NICE, arXiv 1410.8516)."""

    preserves_volume: ClassVar[bool] = True

    def setup(self):
        self.shift = Sized(self.conditioner)

    def _t(self, like, by, mask, planes):
        (raw,) = self.compute(self.shift, like, by, planes)
        return self.to_shift(raw, mask)

    def forward(self, h, by, mask=1.0, planes=None):
        return h + self._t(h, by, mask, planes)

    def inverse(self, h, by, mask=1.0, planes=None):
        return h - self._t(h, by, mask, planes)


class RoundedShift(Shift):
    """h' = h + round(t(by)): maps integers to integers, bit for bit undone (arXiv 1905.07376)."""

    def _t(self, like, by, mask, planes):
        return round_ste(super()._t(like, by, mask, planes))


class ScaleShift(Update):
    """h' = h exp(s(by)) + t(by), with separate networks for s and t, |s| <= clamp."""

    def setup(self):
        self.scale = Sized(self.conditioner)
        self.shift = Sized(self.conditioner)

    def _st(self, like, by, mask, planes):
        (s,) = self.compute(self.scale, like, by, planes)
        (t,) = self.compute(self.shift, like, by, planes)
        return self.to_log_scale(s, mask), self.to_shift(t, mask)

    def forward(self, h, by, mask=1.0, planes=None):
        s, t = self._st(h, by, mask, planes)
        return h * jnp.exp(s) + t

    def inverse(self, h, by, mask=1.0, planes=None):
        s, t = self._st(h, by, mask, planes)
        return (h - t) * jnp.exp(-s)


class JointScaleShift(ScaleShift):
    """h' = h exp(s) + t, with (s, t) from one network (Glow, arXiv 1807.03039).

    The same clamp bounds s on both sides of the coupling; t is not bounded.
    """

    def setup(self):
        self.scale_and_shift = Sized(self.conditioner)

    def _st(self, like, by, mask, planes):
        s, t = self.compute(self.scale_and_shift, like, by, planes, 2)
        return self.to_log_scale(s, mask), self.to_shift(t, mask)


class VolumePreserving(JointScaleShift):
    """As `JointScaleShift`, with log scales that add up to 0 (GIN, arXiv 2001.04872).

    They add up to 0 over each image, so that one region may grow where another one shrinks; over
    the channels of each pixel, as in FrEIA's GIN, with `PixelVolumePreserving`.
    """

    preserves_volume: ClassVar[bool] = True
    balanced_axes: ClassVar[tuple[int, ...]] = (1, 2, 3)

    def _st(self, like, by, mask, planes):
        s, t = super()._st(like, by, mask, planes)
        ones = jnp.broadcast_to(mask, s.shape)
        axes = self.balanced_axes
        mean = s.sum(axes, keepdims=True) / ones.sum(axes, keepdims=True).clip(1)
        # Half: the difference of two values within the clamp may be twice as large.
        return (s - mean) / 2 * ones, t


class PixelVolumePreserving(VolumePreserving):
    """As `VolumePreserving`, with log scales that add up to 0 over the channels of each pixel."""

    balanced_axes: ClassVar[tuple[int, ...]] = (3,)


class ChannelAffine(ScaleShift):
    """h' = h exp(s) + t with a learned s and t for each channel, whatever `by` is; |s| <= clamp."""

    def setup(self):
        self.affine = _ByChannel()

    def _st(self, like, by, mask, planes):
        s, t = self.affine(like.shape[-1])
        return self.to_log_scale(s, mask), self.to_shift(t, mask)


class AllInOne(JointScaleShift):
    """`JointScaleShift`, then `ChannelAffine`: the changed half of FrEIA's AllInOneBlock.

    Either |log scale| is within the clamp.
    """

    def setup(self):
        super().setup()
        self.affine = _ByChannel()

    def _st(self, like, by, mask, planes):
        s, t = super()._st(like, by, mask, planes)
        all_s, all_t = self.affine(like.shape[-1])
        all_s = self.to_log_scale(all_s, mask)
        return s + all_s, t * jnp.exp(all_s) + self.to_shift(all_t, mask)


class Sized(nn.Module):
    """A conditioner that is given its number of output channels with its inputs."""

    conditioner: MakeConditioner

    @nn.compact
    def __call__(self, x: jax.Array, features: int) -> jax.Array:
        return self.conditioner(features)(x)


class _ByChannel(nn.Module):
    """A learned log scale and shift for each channel, of the order of one, zero at first."""

    @nn.compact
    def __call__(self, channels: int) -> tuple[jax.Array, jax.Array]:
        names = ("log_scale", "shift")
        s, t = (self.param(name, nn.initializers.zeros, (channels,)) for name in names)
        return s, t


class Variant(NamedTuple):
    """A pair of updates.

    Attributes:
      first, second: the updates of the two halves; `second` is given the first half after `first`.
      exact: integers map to integers, and back if the conditioners compute the same bits.
      arithmetic: of the conditioners; in fixed point they compute the same bits everywhere.
    """

    first: type[Update]
    second: type[Update]
    exact: bool = False
    arithmetic: Arithmetic = FLOAT

    @property
    def preserves_volume(self) -> bool:
        """Whether the determinant of its Jacobian is 1."""
        return self.first.preserves_volume and self.second.preserves_volume

    @property
    def portable(self) -> bool:
        """Whether any machine undoes what another one did, bit for bit."""
        return self.exact and self.arithmetic is FIXED


COUPLINGS: dict[str, Variant] = {
    "additive": Variant(Shift, Shift),
    "affine": Variant(ScaleShift, ScaleShift),
    "irn": Variant(Shift, ScaleShift),  # arXiv 2005.05650
    "gin": Variant(VolumePreserving, VolumePreserving),
    "gin_pixel": Variant(PixelVolumePreserving, PixelVolumePreserving),
    "glow": Variant(JointScaleShift, JointScaleShift),
    # FrEIA's AllInOneBlock, but for its rotation, which is a mixing: one half passes the coupling,
    # then all channels are scaled and shifted.
    "all_in_one": Variant(AllInOne, ChannelAffine),
    "integer": Variant(RoundedShift, RoundedShift, exact=True, arithmetic=FIXED),
    "integer_float": Variant(RoundedShift, RoundedShift, exact=True),
}


class Coupling(nn.Module):
    """A coupling on [B, h, w, C], C even.

    Attributes:
      variant: key of `COUPLINGS`.
      conditioner, clamp, gain, clamping: see `Update`, also for `mask` and `planes`.
    """

    variant: str
    conditioner: MakeConditioner
    clamp: float = 1.0
    gain: float = 1.0
    clamping: str = "tanh"

    def setup(self):
        variant = COUPLINGS[self.variant]
        conditioner = functools.partial(self.conditioner, arithmetic=variant.arithmetic)
        settings = conditioner, self.clamp, self.gain, self.clamping
        self.first, self.second = variant.first(*settings), variant.second(*settings)

    def forward(
        self, x: jax.Array, mask: jax.Array | None = None, planes: jax.Array | None = None
    ) -> jax.Array:
        """(a, b) -> (c, d).

        Raises:
          ValueError: an odd number of channels.
        """
        (a, b), (mask_a, mask_b) = _halves(x), _halves(mask)
        c = self.first.forward(a, b, mask_a, planes)
        d = self.second.forward(b, c, mask_b, planes)
        return jnp.concatenate([c, d], axis=-1)

    def inverse(
        self, y: jax.Array, mask: jax.Array | None = None, planes: jax.Array | None = None
    ) -> jax.Array:
        """(c, d) -> (a, b)."""
        (c, d), (mask_a, mask_b) = _halves(y), _halves(mask)
        b = self.second.inverse(d, c, mask_b, planes)
        a = self.first.inverse(c, b, mask_a, planes)
        return jnp.concatenate([a, b], axis=-1)

    def change(
        self, half: str, method: str, x: jax.Array, mask: jax.Array | None, planes: jax.Array | None
    ) -> jax.Array:
        """Changes one half alone: `forward` is 'first', then 'second'; `inverse` undoes them.

        Args:
          half: 'first' or 'second'.
          method: 'forward' or 'inverse' of that half's update.
          x: [B, h, w, C].
          mask: see `Update`.
          planes: see `Update`.
        """
        halves, masks = _halves(x), _halves(mask)
        own = ("first", "second").index(half)
        changed = getattr(getattr(self, half), method)(
            halves[own], halves[1 - own], masks[own], planes
        )
        pair = [changed, halves[1]] if own == 0 else [halves[0], changed]
        return jnp.concatenate(pair, axis=-1)


def _halves(x):
    if x is None:
        return 1.0, 1.0
    if x.shape[-1] % 2:
        raise ValueError(
            f"a coupling halves the channels, which {x.shape[-1]} can't be: give an even number"
        )
    return jnp.split(x, 2, axis=-1)
