"""Any JAX function as a network, beside those that this package builds."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


class FunctionNetwork(nn.Module):
    """A function as a Flax module, see `function_network`.

    Attributes:
      function: (variables, images float32 [B, H, W, 3] in pixel units) -> float32 [B, K].
      names: of the leaves of its variables, in their order.
      structure: of its variables.
    """

    function: Callable[[Any, jax.Array], jax.Array]
    names: tuple[str, ...]
    structure: jax.tree_util.PyTreeDef

    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """What the function returns, [B, K]; `train` changes nothing."""
        leaves: list[Any] = [self.get_variable("params", name) for name in self.names]
        return self.function(jax.tree.unflatten(self.structure, leaves), images)


def function_network(
    function: Callable[[Any, jax.Array], jax.Array], variables: Any
) -> tuple[FunctionNetwork, dict[str, dict[str, jax.Array]]]:
    """Makes a network of a function.

    Args:
      function: traceable by JAX, differentiable in images, and without an effect of one image on
        the result of another. (variables, images float32 [B, H, W, 3] in pixel units 0..255, of any
        height and width of at least 32) -> float32 [B, K].
      variables: its weights, a pytree of arrays.

    Returns:
      The module and its variables, as of other classifiers.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(variables)
    arrays = {
        jax.tree_util.keystr(path, simple=True, separator="."): jnp.asarray(leaf)
        for path, leaf in leaves
    }
    return FunctionNetwork(function, tuple(arrays), structure), {"params": arrays}
