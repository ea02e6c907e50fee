"""The generator, ready for use: one or more stages, undone in reverse order."""

from typing import Any

import flax.struct
import jax
from flax import linen as nn

from raeg_jax.generator.class_planes import ClassInfo
from raeg_jax.generator.learned_pattern import Place


@flax.struct.dataclass
class LearnedStage:
    """The U-Net of couplings as a stage; its side information is the label if it has class planes.

    Attributes:
      module: its methods `forward` and `inverse` map float32 [B, H, W, 3] in pixel units.
      params: its parameters.
    """

    module: nn.Module = flax.struct.field(pytree_node=False)
    params: Any

    placed = False

    @property
    def exact(self) -> bool:
        """Whether integers map to integers and back bit for bit."""
        return self.module.exact

    @property
    def portable(self) -> bool:
        """Whether any machine recovers what another one protected, bit for bit."""
        return self.module.portable

    @property
    def token_planes(self) -> int:
        """Planes of the token that the network takes."""
        return self.module.token_planes

    @property
    def class_planes(self) -> int:
        """Planes of the class that the network takes; with 0 it needs no label."""
        return self.module.class_planes

    def forward(self, x: jax.Array, labels, reference, token, editable, place=None):
        """Protects; see `Chain.forward`. Ignores reference and place."""
        y = self._apply("forward", x, token, editable, labels)
        return y, ClassInfo(labels) if self.class_planes else ()

    def inverse(self, y: jax.Array, side_info, token, editable, place=None):
        """The inverse of `forward`."""
        labels = side_info.label if self.class_planes else None
        return self._apply("inverse", y, token, editable, labels)

    def _apply(self, method, x, token, editable, labels):
        return self.module.apply({"params": self.params}, x, token, editable, labels, method=method)


@flax.struct.dataclass
class Chain:
    """Stages one after the other; a pytree, so that it can be an argument of jitted functions.

    Attributes:
      stages: each has `forward(x, labels, reference, token, editable, place) -> (y, side_info)`,
        `inverse(y, side_info, token, editable, place) -> x`, `exact`, `portable`, `placed` and
        `token_planes`, the same number for all; `reference` is the original. All but the last must
        be exact: the inverse of an inexact stage would start from a rounded image.
    """

    stages: tuple[Any, ...]

    @property
    def exact(self) -> bool:
        """Whether every stage is exact."""
        return all(stage.exact for stage in self.stages)

    @property
    def portable(self) -> bool:
        """Whether every stage is portable; if not, only the protecting program recovers exactly."""
        return all(stage.portable for stage in self.stages)

    @property
    def placed(self) -> bool:
        """Whether any stage needs the place of images, where they aren't whole."""
        return any(stage.placed for stage in self.stages)

    @property
    def token_planes(self) -> int:
        """Planes P of the secret token; with 0, every holder of the generator can recover."""
        return max((stage.token_planes for stage in self.stages), default=0)

    def forward(
        self,
        x: jax.Array,
        labels: jax.Array,
        token: jax.Array | None = None,
        editable: jax.Array | None = None,
        place: Place | None = None,
    ) -> tuple[jax.Array, tuple[Any, ...]]:
        """Protects.

        Args:
          x: float32 [B, H, W, 3] in pixel units.
          labels: int32 [B], the class of each image.
          token: +1 and -1, [B, H, W, P]; None where P is 0.
          editable: bool [B, H, W, 1], the pixels that may change; None for all.
          place: where the images lie in their photographs, and what these drew; None for whole
            images that drew 0, and where `placed` is false.

        Returns:
          The protected images, float32 [B, H, W, 3], not yet rounded or clipped, and the side
          information that `inverse` needs, one entry for each stage.
        """
        y, side_infos = x, []
        for stage in self.stages:
            y, side_info = stage.forward(y, labels, x, token, editable, place)
            side_infos.append(side_info)
        return y, tuple(side_infos)

    def inverse(
        self,
        y: jax.Array,
        side_infos: tuple[Any, ...],
        token: jax.Array | None = None,
        editable: jax.Array | None = None,
        place: Place | None = None,
    ) -> jax.Array:
        """Recovers: the inverse of `forward`, with the same token, editable pixels and place."""
        for stage, side_info in zip(reversed(self.stages), reversed(side_infos), strict=True):
            y = stage.inverse(y, side_info, token, editable, place)
        return y
