"""The learned stage: a U-shaped invertible network of coupling blocks on a wavelet pyramid."""

import dataclasses
import functools
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from raeg_jax.errors import UserError
from raeg_jax.exact.fixed_point import check_sums
from raeg_jax.generator import wavelet
from raeg_jax.generator.backpropagation import run_blocks
from raeg_jax.generator.class_planes import conditioning
from raeg_jax.generator.conditioner import CONDITIONERS, FIXED
from raeg_jax.generator.coupling import COUPLINGS, Coupling
from raeg_jax.generator.mixing import MIXINGS, NoMixing

# Name -> (transform of float couplings, transform of integer couplings).
DOWNSAMPLINGS = {
    "haar": (wavelet.HAAR, wavelet.HAAR_INTEGER),
    "unshuffle": (wavelet.UNSHUFFLE, wavelet.UNSHUFFLE),
}

_CHANNELS = 3


class Block(nn.Module):
    """One coupling in the basis of one mixing: M^-1 K M."""

    mixing: NoMixing
    coupling: Coupling

    # The steps that either method consists of, in order; each has an inverse.
    STEPS: ClassVar[dict[str, tuple[tuple[str, str], ...]]] = {
        "forward": (
            ("mixing", "forward"),
            ("first", "forward"),
            ("second", "forward"),
            ("mixing", "inverse"),
        ),
        "inverse": (
            ("mixing", "forward"),
            ("second", "inverse"),
            ("first", "inverse"),
            ("mixing", "inverse"),
        ),
    }

    def forward(self, x: jax.Array, mask: jax.Array | None, planes: jax.Array | None) -> jax.Array:
        """[B, h, w, C] -> the same shape."""
        return self._run(self.coupling.forward, x, mask, planes)

    def inverse(self, y: jax.Array, mask: jax.Array | None, planes: jax.Array | None) -> jax.Array:
        """The inverse of `forward`."""
        return self._run(self.coupling.inverse, y, mask, planes)

    def step(
        self,
        x: jax.Array,
        mask: jax.Array | None,
        planes: jax.Array | None,
        part: str,
        method: str,
    ) -> jax.Array:
        """One of `STEPS`: 'mixing', or a half of the coupling; 'forward' or 'inverse'."""
        if part == "mixing":
            return getattr(self.mixing, method)(x, mask)
        return self.coupling.change(part, method, x, self.mixing.mixed_mask(mask), planes)

    def _run(self, transform, x, mask, planes):
        mixed = self.mixing.forward(x, mask)
        changed = transform(mixed, self.mixing.mixed_mask(mask), planes)
        return self.mixing.inverse(changed, mask)


class Level(nn.Module):
    """One level of the U: analyse, blocks, the next level on the low band, blocks, synthesise.

    Attributes:
      downsampling: the transform between this level and the next finer one.
      down, up: blocks before and after the next coarser level; the coarsest level has no `up`.
      below: the next coarser level, or None.
      memory: key of `MEMORY`, what blocks keep for gradients.
    """

    downsampling: wavelet.Downsampling
    down: tuple[nn.Module, ...]
    up: tuple[nn.Module, ...]
    below: nn.Module | None
    memory: str = "plain"

    def forward(
        self, x: jax.Array, planes: jax.Array | None, editable: jax.Array | None
    ) -> jax.Array:
        """float32 [B, H, W, C], planes [B, H, W, P], editable [B, H, W, 1] -> the shape of x."""
        return self._run("forward", self.down, self.up, x, planes, editable)

    def inverse(
        self, y: jax.Array, planes: jax.Array | None, editable: jax.Array | None
    ) -> jax.Array:
        """The inverse of `forward`: the inverse blocks in reverse order."""
        return self._run("inverse", self.up[::-1], self.down[::-1], y, planes, editable)

    def _run(self, method, before, after, x, planes, editable):
        planes, editable = _coarsen(planes, editable)
        mask = _editable_coefficients(x.shape, editable)
        z = self.downsampling.forward(x)
        z = run_blocks(self.memory, before, method, z, (mask, planes))
        if self.below is not None:
            low, details = jnp.split(z, [x.shape[-1]], axis=-1)
            low = getattr(self.below, method)(low, planes, editable)
            z = jnp.concatenate([low, details], axis=-1)
        z = run_blocks(self.memory, after, method, z, (mask, planes))
        return self.downsampling.inverse(z, *x.shape[1:3])


def _coarsen(planes, editable):
    """Planes and editable blocks at half the resolution.

    Planes are sampled, not averaged, which would blur a token's cells. A block is editable where
    all of its pixels are.
    """
    planes = None if planes is None else planes[:, ::2, ::2]
    return planes, None if editable is None else wavelet.editable_blocks(editable)


def _editable_coefficients(shape, editable):
    """1 for the coefficients that exist and may change; None where all do."""
    mask = wavelet.validity(*shape[1:])
    if editable is None:
        return mask
    editable = editable.astype(jnp.float32)
    if mask is None:
        return jnp.broadcast_to(editable, (*editable.shape[:3], 4 * shape[-1]))
    return mask * editable


class InvertibleUNet(nn.Module):
    """The U-shaped invertible network: `forward` protects, `inverse` recovers.

    Any H and W from one pixel up; sides that are no multiple of 2^levels need no padding (see
    `raeg_jax.generator.wavelet`). A fresh network is the identity.

    Attributes:
      coupling, conditioner, mixing, downsampling: names in the registries.
      blocks, widths: number of blocks, in `down` and in `up`, and conditioner width of each level,
        finest first.
      depth: layers of each conditioner.
      clamp: bound on |log scale| of multiplicative couplings.
      clamping: name in `CLAMPINGS`, the function that keeps log scales within it.
      token_planes: planes P of the secret token, an input of every conditioner; 0 for none.
      class_planes: planes Q of the image's class, also an input of every conditioner; 0 for none.
      memory: key of `MEMORY`, what blocks keep for gradients; it changes no output.

    `forward` and `inverse` take the token, [B, H, W, P] of +1 and -1, None where P is 0;
    `editable`, bool [B, H, W, 1], the pixels that may change, None for all; and `labels`, int [B],
    the images' classes, used where Q isn't 0. Pixels that must not change stay as they are, but are
    inputs of the conditioners.
    """

    coupling: str = "integer"
    conditioner: str = "unet"
    mixing: str = "permutation"
    downsampling: str = "haar"
    blocks: tuple[int, ...] = (1, 1, 1)
    widths: tuple[int, ...] = (24, 32, 48)
    depth: int = 2
    clamp: float = 1.0
    clamping: str = "tanh"
    token_planes: int = 0
    class_planes: int = 0
    memory: str = "plain"

    @property
    def exact(self) -> bool:
        """Whether integers map to integers and back bit for bit."""
        return COUPLINGS[self.coupling].exact and MIXINGS[self.mixing].exact

    @property
    def portable(self) -> bool:
        """Whether any machine recovers what another one protected, bit for bit."""
        return self.exact and COUPLINGS[self.coupling].portable

    def check(self, params: Any) -> None:
        """Checks that loaded parameters keep the promise of `portable`.

        Raises:
          UserError: the weights of a layer are too large or not finite.
        """
        if self.portable:
            check_sums(params)

    def setup(self):
        transform = DOWNSAMPLINGS[self.downsampling][COUPLINGS[self.coupling].exact]

        def level(depth):
            gain = transform.gain ** (depth + 1)
            below = level(depth + 1) if depth + 1 < len(self.blocks) else None
            # The coarsest level has no `up`: no other level separates it from `down`.
            up = self._make_blocks(depth, 1, gain) if below else ()
            return Level(transform, self._make_blocks(depth, 0, gain), up, below, self.memory)

        self.pyramid = level(0)

    def _make_blocks(self, depth, is_up, gain):
        conditioner = functools.partial(
            CONDITIONERS[self.conditioner], width=self.widths[depth], depth=self.depth
        )
        return tuple(
            Block(
                MIXINGS[self.mixing](4 * _CHANNELS, index=1000 * depth + 2 * i + is_up),
                Coupling(self.coupling, conditioner, self.clamp, gain, self.clamping),
            )
            for i in range(self.blocks[depth])
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """`forward` with a token of zeros, for `init`."""
        planes = self.token_planes
        token = jnp.zeros((*x.shape[:3], planes)) if planes else None
        return self.forward(x, token, labels=jnp.zeros(len(x), jnp.int32))

    def forward(
        self,
        x: jax.Array,
        token: jax.Array | None = None,
        editable: jax.Array | None = None,
        labels: jax.Array | None = None,
    ) -> jax.Array:
        """Protects: float32 [B, H, W, 3] in pixel units -> the same shape, not yet clipped."""
        return self.pyramid.forward(x, self._planes(x, token, labels), editable)

    def inverse(
        self,
        y: jax.Array,
        token: jax.Array | None = None,
        editable: jax.Array | None = None,
        labels: jax.Array | None = None,
    ) -> jax.Array:
        """Recovers: the inverse of `forward`."""
        return self.pyramid.inverse(y, self._planes(y, token, labels), editable)

    def _planes(self, x, token, labels):
        return conditioning(x, token, labels, self.class_planes)


def unet_from_config(settings: ConfigDict, memory: str = "plain") -> InvertibleUNet:
    """Builds the learned stage that `config.generator` describes.

    Args:
      settings: `config.generator`.
      memory: key of `MEMORY`, what blocks keep for gradients; `config.train.memory` in training.

    Raises:
      UserError: variants or sizes that do not go together.
    """
    if len(settings.blocks) != len(settings.widths) or not settings.blocks:
        raise UserError(
            f"config.generator.blocks {tuple(settings.blocks)} and config.generator.widths "
            f"{tuple(settings.widths)} need one entry a level each"
        )
    coupling = COUPLINGS[settings.coupling]
    if coupling.exact and not MIXINGS[settings.mixing].exact:
        choices = " or ".join(repr(name) for name, mixing in MIXINGS.items() if mixing.exact)
        raise UserError(
            f"config.generator.mixing {settings.mixing!r} makes fractions of integers: with "
            f"coupling {settings.coupling!r} choose {choices}"
        )
    if coupling.arithmetic is FIXED and not CONDITIONERS[settings.conditioner].has_fixed_point:
        raise UserError(
            f"config.generator.conditioner {settings.conditioner!r} has no form in fixed point, "
            f"which coupling {settings.coupling!r} needs: choose another conditioner, or coupling "
            "'integer_float', which is exact in the program that protected"
        )
    values = {
        field.name: settings[field.name]
        for field in dataclasses.fields(InvertibleUNet)
        if field.name in settings
    }
    values |= {name: tuple(values[name]) for name in ("blocks", "widths")}
    return InvertibleUNet(**values, memory=memory)
