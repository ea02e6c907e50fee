"""Coupling layers: one half of the channels is changed by a function of the other, then swapped.

    x = (a, b)    c = f(a; b)      b = g^-1(d; c)
                  d = g(b; c)      a = f^-1(c; b)       y = (c, d)

f and g are *updates*: elementwise invertible maps whose parameters a conditioner computes from
the other half. A variant is a pair of updates, so the registry `COUPLINGS` is a table.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

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


class Update(nn.Module):
    """An elementwise invertible map of h, given the other half `by`.

    Attributes:
      conditioner: makes the network(s) that compute shift and scale.
      clamp: bound on |log scale|.
      gain: size of the coefficients at this level, relative to pixels.

    `mask` is 1 where a coefficient may change and 0 where it must not; `token`, an input of the
    conditioner beside `by`, holds planes of +1 and -1 of the same height and width, or is None.
    """

    conditioner: MakeConditioner
    clamp: float = 1.0
    gain: float = 1.0

    def _inputs(self, by: jax.Array, token: jax.Array | None) -> jax.Array:
        scaled = by / (_PIXELS_IN * self.gain)
        return scaled if token is None else jnp.concatenate([scaled, token], axis=-1)

    def _shift(self, raw: jax.Array, mask: jax.Array | float) -> jax.Array:
        return raw * (_PIXELS_OUT * self.gain) * mask

    def _log_scale(self, raw: jax.Array, mask: jax.Array | float) -> jax.Array:
        return self.clamp * jnp.tanh(raw * (_LOG_OUT / self.clamp)) * mask


class Shift(Update):
    """h' = h + t(by); volume-preserving (NICE, arXiv 1410.8516)."""

    def setup(self):
        self.shift = _Sized(self.conditioner)

    def _t(self, like, by, mask, token):
        return self._shift(self.shift(self._inputs(by, token), like.shape[-1]), mask)

    def forward(self, h, by, mask=1.0, token=None):
        return h + self._t(h, by, mask, token)

    def inverse(self, h, by, mask=1.0, token=None):
        return h - self._t(h, by, mask, token)


class RoundedShift(Shift):
    """h' = h + round(t(by)): maps integers to integers, bit for bit undone (arXiv 1905.07376)."""

    def _t(self, like, by, mask, token):
        return round_ste(super()._t(like, by, mask, token))


class ScaleShift(Update):
    """h' = h exp(s(by)) + t(by), with separate networks for s and t, |s| <= clamp."""

    def setup(self):
        self.scale = _Sized(self.conditioner)
        self.shift = _Sized(self.conditioner)

    def _st(self, like, by, mask, token):
        channels = like.shape[-1]
        inputs = self._inputs(by, token)
        s = self._log_scale(self.scale(inputs, channels), mask)
        return s, self._shift(self.shift(inputs, channels), mask)

    def forward(self, h, by, mask=1.0, token=None):
        s, t = self._st(h, by, mask, token)
        return h * jnp.exp(s) + t

    def inverse(self, h, by, mask=1.0, token=None):
        s, t = self._st(h, by, mask, token)
        return (h - t) * jnp.exp(-s)


class JointScaleShift(ScaleShift):
    """h' = h exp(s) + t, with (s, t) from one network (Glow, arXiv 1807.03039).

    The same clamp bounds s on both sides of the coupling; t is not bounded.
    """

    def setup(self):
        self.scale_and_shift = _Sized(self.conditioner)

    def _st(self, like, by, mask, token):
        raw = self.scale_and_shift(self._inputs(by, token), 2 * like.shape[-1])
        s, t = jnp.split(raw, 2, axis=-1)
        return self._log_scale(s, mask), self._shift(t, mask)


class VolumePreserving(JointScaleShift):
    """As `JointScaleShift`, with the log scales of each image adding up to 0 (GIN, 2001.04872)."""

    def _st(self, like, by, mask, token):
        s, t = super()._st(like, by, mask, token)
        ones = jnp.broadcast_to(mask, s.shape)
        mean = s.sum((1, 2, 3), keepdims=True) / ones.sum((1, 2, 3), keepdims=True).clip(1)
        # Half: the difference of two values within the clamp may be twice as large.
        return (s - mean) / 2 * ones, t


class _Sized(nn.Module):
    """A conditioner that is given its number of output channels with its inputs."""

    conditioner: MakeConditioner

    @nn.compact
    def __call__(self, x: jax.Array, features: int) -> jax.Array:
        return self.conditioner(features)(x)


class Variant(NamedTuple):
    """A pair of updates.

    Attributes:
      first, second: the updates of the two halves.
      exact: integers map to integers, and back if the conditioners compute the same bits.
      arithmetic: of the conditioners; in fixed point they compute the same bits everywhere.
    """

    first: type[Update]
    second: type[Update]
    exact: bool = False
    arithmetic: Arithmetic = FLOAT

    @property
    def portable(self) -> bool:
        """Whether any machine undoes what another one did, bit for bit."""
        return self.exact and self.arithmetic is FIXED


COUPLINGS: dict[str, Variant] = {
    "additive": Variant(Shift, Shift),
    "affine": Variant(ScaleShift, ScaleShift),
    "irn": Variant(Shift, ScaleShift),  # arXiv 2005.05650
    "gin": Variant(VolumePreserving, VolumePreserving),
    "glow": Variant(JointScaleShift, JointScaleShift),
    "integer": Variant(RoundedShift, RoundedShift, exact=True, arithmetic=FIXED),
    "integer_float": Variant(RoundedShift, RoundedShift, exact=True),
}


class Coupling(nn.Module):
    """A coupling on [B, h, w, C], C even.

    Attributes:
      variant: key of `COUPLINGS`.
      conditioner, clamp, gain: see `Update`, also for `mask` and `token`.
    """

    variant: str
    conditioner: MakeConditioner
    clamp: float = 1.0
    gain: float = 1.0

    def setup(self):
        variant = COUPLINGS[self.variant]
        conditioner = functools.partial(self.conditioner, arithmetic=variant.arithmetic)
        self.first = variant.first(conditioner, self.clamp, self.gain)
        self.second = variant.second(conditioner, self.clamp, self.gain)

    def forward(
        self, x: jax.Array, mask: jax.Array | None = None, token: jax.Array | None = None
    ) -> jax.Array:
        """(a, b) -> (c, d).

        Raises:
          ValueError: an odd number of channels.
        """
        (a, b), (mask_a, mask_b) = _halves(x), _halves(mask)
        c = self.first.forward(a, b, mask_a, token)
        d = self.second.forward(b, c, mask_b, token)
        return jnp.concatenate([c, d], axis=-1)

    def inverse(
        self, y: jax.Array, mask: jax.Array | None = None, token: jax.Array | None = None
    ) -> jax.Array:
        """(c, d) -> (a, b)."""
        (c, d), (mask_a, mask_b) = _halves(y), _halves(mask)
        b = self.second.inverse(d, c, mask_b, token)
        a = self.first.inverse(c, b, mask_a, token)
        return jnp.concatenate([a, b], axis=-1)


def _halves(x):
    if x is None:
        return 1.0, 1.0
    if x.shape[-1] % 2:
        raise ValueError(
            f"a coupling halves the channels, which {x.shape[-1]} can't be: give an even number"
        )
    return jnp.split(x, 2, axis=-1)
