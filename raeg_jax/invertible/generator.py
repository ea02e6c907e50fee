"""The generator: a U-shaped invertible network of coupling blocks on a wavelet pyramid."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from raeg_jax.errors import UserError
from raeg_jax.image import wavelet
from raeg_jax.invertible.conditioner import CONDITIONERS
from raeg_jax.invertible.coupling import COUPLINGS, Coupling
from raeg_jax.invertible.fixed_point import check_sums
from raeg_jax.invertible.mixing import MIXINGS, mixed_mask

# Name -> (transform of float couplings, transform of integer couplings).
DOWNSAMPLINGS = {
    "haar": (wavelet.HAAR, wavelet.HAAR_INTEGER),
    "unshuffle": (wavelet.UNSHUFFLE, wavelet.UNSHUFFLE),
}

_CHANNELS = 3


class Block(nn.Module):
    """One coupling in the basis of one mixing: M^-1 K M."""

    mixing: nn.Module
    coupling: nn.Module

    def forward(self, x: jax.Array, mask: jax.Array | None = None, token: jax.Array | None = None):
        """[B, h, w, C] -> the same shape, and the log-determinant [B] (that of K: M cancels)."""
        y, log_det = self.coupling.forward(
            self.mixing.forward(x, mask), mixed_mask(self.mixing, mask), token
        )
        return self.mixing.inverse(y, mask), log_det

    def inverse(
        self, y: jax.Array, mask: jax.Array | None = None, token: jax.Array | None = None
    ) -> jax.Array:
        """The reverse of `forward`."""
        x = self.coupling.inverse(
            self.mixing.forward(y, mask), mixed_mask(self.mixing, mask), token
        )
        return self.mixing.inverse(x, mask)


class Level(nn.Module):
    """One floor of the U: analyse, blocks, what lies below on the low band, blocks, synthesise.

    Attributes:
      downsampling: the transform between this floor and the one above it.
      down, up: blocks on the way down and up; the deepest level has no `up`.
      below: the next coarser level, or None.
    """

    downsampling: wavelet.Downsampling
    down: tuple[nn.Module, ...]
    up: tuple[nn.Module, ...]
    below: nn.Module | None

    def forward(
        self, x: jax.Array, token: jax.Array | None, free: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """float32 [B, H, W, C] and token [B, H, W, P] -> the shape of x, log-determinant [B]."""
        token, free = _coarser(token, free)
        mask = _changeable(x.shape, free)
        z, log_det = self.downsampling.forward(x), jnp.zeros(x.shape[0])
        for block in self.down:
            z, change = block.forward(z, mask, token)
            log_det += change
        if self.below is not None:
            low, details = jnp.split(z, [x.shape[-1]], axis=-1)
            low, change = self.below.forward(low, token, free)
            z, log_det = jnp.concatenate([low, details], axis=-1), log_det + change
        for block in self.up:
            z, change = block.forward(z, mask, token)
            log_det += change
        return self.downsampling.inverse(z, *x.shape[1:3]), log_det

    def inverse(self, y: jax.Array, token: jax.Array | None, free: jax.Array | None) -> jax.Array:
        """The reverse of `forward`, step by step."""
        token, free = _coarser(token, free)
        mask = _changeable(y.shape, free)
        z = self.downsampling.forward(y)
        for block in reversed(self.up):
            z = block.inverse(z, mask, token)
        if self.below is not None:
            low, details = jnp.split(z, [y.shape[-1]], axis=-1)
            z = jnp.concatenate([self.below.inverse(low, token, free), details], axis=-1)
        for block in reversed(self.down):
            z = block.inverse(z, mask, token)
        return self.downsampling.inverse(z, *y.shape[1:3])


def _coarser(token, free):
    """As the coefficients of a level have them; a token isn't averaged: that would blur its cells.

    A coefficient may change where all pixels under it may.
    """
    token = None if token is None else token[:, ::2, ::2]
    return token, None if free is None else wavelet.whole_blocks(free)


def _changeable(shape, free):
    """1 for the coefficients that exist and may change, None where all do."""
    mask = wavelet.validity(*shape[1:])
    if free is None:
        return mask
    free = free.astype(jnp.float32)
    return jnp.broadcast_to(free, (*free.shape[:3], 4 * shape[-1])) if mask is None else mask * free


class Generator(nn.Module):
    """The U-shaped invertible network: `forward` protects, `inverse` recovers.

    Any H and W from one pixel up; sides that are no multiple of 2^levels need no padding (see
    `raeg_jax.image.wavelet`). A fresh generator is the identity.

    Attributes:
      coupling, conditioner, mixing, downsampling: names in the registries.
      blocks, widths: blocks (each way) and conditioner width of each level, finest first.
      depth: layers of each conditioner.
      clamp: bound on |log scale| of multiplicative couplings.
      token_planes: planes P of the secret token, which every conditioner sees; 0 for none.

    Both ways take the token, [B, H, W, P] of +1 and -1, None where P is 0; and bool [B, H, W, 1],
    which pixels may change: None for all. The others stay as they are, and are seen.
    """

    coupling: str = "integer"
    conditioner: str = "unet"
    mixing: str = "permutation"
    downsampling: str = "haar"
    blocks: tuple[int, ...] = (1, 1, 1)
    widths: tuple[int, ...] = (24, 32, 48)
    depth: int = 2
    clamp: float = 1.0
    token_planes: int = 0

    @property
    def exact(self) -> bool:
        """Whether integers map to integers, so that `inverse` returns them bit for bit."""
        return COUPLINGS[self.coupling].exact and self.mixing != "conv1x1"

    @property
    def portable(self) -> bool:
        """Whether any machine recovers what another one protected, bit for bit."""
        return self.exact and COUPLINGS[self.coupling].portable

    def check(self, params: Any) -> None:
        """Makes sure that loaded parameters keep what `portable` promises.

        Raises:
          UserError: the weights of a layer are too large or not finite.
        """
        if self.portable:
            check_sums(params)

    def setup(self):
        transform = DOWNSAMPLINGS[self.downsampling][COUPLINGS[self.coupling].exact]
        level = None
        for depth in reversed(range(len(self.blocks))):
            gain = transform.gain ** (depth + 1)
            down = self._make_blocks(depth, 0, gain)
            # The deepest level has no way up: nothing lies between its two ways.
            up = self._make_blocks(depth, 1, gain) if level else ()
            level = Level(transform, down, up, below=level)
        self.pyramid = level

    def _make_blocks(self, depth, way, gain):
        conditioner = functools.partial(
            CONDITIONERS[self.conditioner], width=self.widths[depth], depth=self.depth
        )
        return tuple(
            Block(
                MIXINGS[self.mixing](4 * _CHANNELS, index=1000 * depth + 2 * i + way),
                Coupling(self.coupling, conditioner, self.clamp, gain),
            )
            for i in range(self.blocks[depth])
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """`forward` with a token of zeros, for `init`."""
        planes = self.token_planes
        return self.forward(x, jnp.zeros((*x.shape[:3], planes)) if planes else None)

    def forward(
        self, x: jax.Array, token: jax.Array | None = None, free: jax.Array | None = None
    ) -> jax.Array:
        """Protects: float32 [B, H, W, 3] in pixel units -> the same shape, not yet clipped."""
        return self.forward_and_log_det(x, token, free)[0]

    def forward_and_log_det(
        self, x: jax.Array, token: jax.Array | None = None, free: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """As `forward`, and log |det dy/dx| per image, float32 [B] (rounding not counted)."""
        return self.pyramid.forward(x, self._checked(x, token), free)

    def inverse(
        self, y: jax.Array, token: jax.Array | None = None, free: jax.Array | None = None
    ) -> jax.Array:
        """Recovers: the reverse of `forward`."""
        return self.pyramid.inverse(y, self._checked(y, token), free)

    def _checked(self, x, token):
        """The token, in the images' type."""
        if x.ndim != 4 or x.shape[-1] != _CHANNELS or min(x.shape) < 1:
            raise ValueError(f"images must have shape [B, H, W, 3], got {list(x.shape)}")
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(
                f"images must be float32 in pixel units (cast uint8 first), got {x.dtype}"
            )
        wanted = (*x.shape[:3], self.token_planes) if self.token_planes else None
        if (None if token is None else token.shape) != wanted:
            raise ValueError(
                f"the token of {self.token_planes} planes must be {wanted}, got "
                f"{None if token is None else token.shape}"
            )
        return None if token is None else token.astype(x.dtype)


def generator_from_config(settings: ConfigDict) -> Generator:
    """Builds the generator that `config.generator` describes.

    Raises:
      UserError: for an unknown variant, or sizes that do not go together.
    """
    for field, registry in (
        ("coupling", COUPLINGS),
        ("conditioner", CONDITIONERS),
        ("mixing", MIXINGS),
        ("downsampling", DOWNSAMPLINGS),
    ):
        if settings[field] not in registry:
            raise UserError(
                f"config.generator.{field} is {settings[field]!r}; "
                f"choose one of {', '.join(registry)}"
            )
    if len(settings.blocks) != len(settings.widths) or not settings.blocks:
        raise UserError(
            f"config.generator.blocks {tuple(settings.blocks)} and config.generator.widths "
            f"{tuple(settings.widths)} need one entry a level each"
        )
    if COUPLINGS[settings.coupling].exact and settings.mixing == "conv1x1":
        raise UserError(
            f"config.generator.mixing 'conv1x1' makes fractions of integers: with coupling "
            f"{settings.coupling!r} choose 'permutation' or 'none'"
        )
    fields = (field.name for field in dataclasses.fields(Generator))
    return Generator(**{name: _plain(settings[name]) for name in fields if name in settings})


def _plain(value):
    return tuple(value) if isinstance(value, list | tuple) else value
