"""Classifiers as they are attacked and evaluated: frozen, with their weights as data."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
from flax import linen as nn

from raeg_jax.networks.layers import MIN_SIDE, at_least


def as_pytree(logits_fn: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """Makes any callable fit to be an argument of a jitted function."""
    if isinstance(logits_fn, FrozenClassifier | jax.tree_util.Partial):
        return logits_fn
    return jax.tree_util.Partial(logits_fn)


@flax.struct.dataclass
class FrozenClassifier:
    """A classifier in evaluation mode: its running statistics are read, never updated.

    A pytree, so that its weights are arguments of jitted functions and not constants of them.

    Attributes:
      module: `module.apply(variables, images, train=False)` gives logits.
      variables: its `params` and `batch_stats`.
    """

    module: nn.Module = flax.struct.field(pytree_node=False)
    variables: Any

    def __call__(self, images: jax.Array) -> jax.Array:
        """Maps float32 images [B, H, W, 3] in pixel units to logits [B, K].

        Images of any size: tiles at an edge may be narrower than what the networks take.
        """
        return self.module.apply(self.variables, at_least(images, MIN_SIDE), train=False)
