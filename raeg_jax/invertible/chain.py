"""The whole generator, ready for use: one or more stages, each undone in reverse order."""

from typing import Any

import flax.struct
import jax
from flax import linen as nn


@flax.struct.dataclass
class Learned:
    """The U-shaped network as a stage; it needs no label and leaves no code.

    Attributes:
      module: its methods `forward` and `inverse` map float32 [B, H, W, 3] in pixel units.
      params: its parameters.
    """

    module: nn.Module = flax.struct.field(pytree_node=False)
    params: Any

    @property
    def exact(self) -> bool:
        """Whether integers map to integers and come back bit for bit."""
        return self.module.exact

    @property
    def portable(self) -> bool:
        """Whether they do so on any machine."""
        return self.module.portable

    @property
    def token_planes(self) -> int:
        """Planes of the token that the network sees."""
        return self.module.token_planes

    def forward(self, x: jax.Array, labels: jax.Array, reference: jax.Array, token, free):
        """Returns the images and an empty code."""
        return self.module.apply({"params": self.params}, x, token, free, method="forward"), ()

    def inverse(self, y: jax.Array, code: tuple, token, free) -> jax.Array:
        """Undoes `forward`."""
        return self.module.apply({"params": self.params}, y, token, free, method="inverse")


@flax.struct.dataclass
class Chain:
    """Stages one after the other; a pytree, so that it can be an argument of jitted functions.

    Attributes:
      stages: each has `forward(x, labels, reference, token, free) -> (y, code)`, `inverse(y,
        code, token, free) -> x`, `exact`, `portable` and `token_planes`, the same number for all;
        all but the last must be exact, since a rounded image can't be followed backwards.
    """

    stages: tuple[Any, ...]

    @property
    def exact(self) -> bool:
        """Whether every stage is."""
        return all(stage.exact for stage in self.stages)

    @property
    def portable(self) -> bool:
        """Whether every stage is; else recovery is exact in the program that protected."""
        return all(stage.portable for stage in self.stages)

    @property
    def token_planes(self) -> int:
        """Planes P of the secret token; without, any holder of the generator can undo it."""
        return max((stage.token_planes for stage in self.stages), default=0)

    def forward(
        self,
        x: jax.Array,
        labels: jax.Array,
        token: jax.Array | None = None,
        free: jax.Array | None = None,
    ) -> tuple[jax.Array, tuple[Any, ...]]:
        """Protects.

        Args:
          x: float32 [B, H, W, 3] in pixel units.
          labels: int32 [B], the class of each image.
          token: +1 and -1, [B, H, W, P]; None where P is 0.
          free: bool [B, H, W, 1], which pixels may change; None for all.

        Returns:
          The protected images, float32 [B, H, W, 3], not yet rounded or clipped, and the code that
          `inverse` needs.
        """
        y, codes = x, []
        for stage in self.stages:
            y, code = stage.forward(y, labels, x, token, free)
            codes.append(code)
        return y, tuple(codes)

    def inverse(
        self,
        y: jax.Array,
        code: tuple[Any, ...],
        token: jax.Array | None = None,
        free: jax.Array | None = None,
    ) -> jax.Array:
        """Recovers: the reverse of `forward`, stage by stage, with the same token and pixels."""
        for stage, own in zip(reversed(self.stages), reversed(code), strict=True):
            y = stage.inverse(y, own, token, free)
        return y
