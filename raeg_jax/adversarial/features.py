"""Feature extractors as targets: an attack that takes an image's features away from the original's.

It needs neither labels nor classes, so it is also what face recognisers need. Features are what a
classifier's last dense layer reads, such as the 1,280 pooled ones of EfficientNet-Lite0.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from raeg_jax.networks.classifiers import LogitsFn
from raeg_jax.networks.function import FunctionNetwork

# Least squared length of features that aren't zero.
_LEAST = 1e-12


def features(network: LogitsFn, images: jax.Array) -> jax.Array:
    """The features that a network makes of images: float32 [B, F].

    Args:
      network: a classifier with a dense layer, of which the last one's input is returned; of
        another function the result itself.
      images: float32 [B, H, W, 3] in pixel units.
    """
    found = []

    def keep(call, args, kwargs, context):
        result = call(*args, **kwargs)
        if context.method_name == "__call__":
            match context.module:
                case FunctionNetwork():
                    # Its call ends after those of dense layers in the function.
                    found.append(result)
                case nn.Dense():
                    found.append(args[0])
        return result

    with nn.intercept_methods(keep):
        result = network(images)
    return found[-1] if found else result


def cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    """The cosine of the angle between features [B, F]: float32 [B], 0 where one of them is 0."""
    return jnp.sum(_unit(a) * _unit(b), axis=-1)


def _unit(x):
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), _LEAST))


def likeness(
    networks: Sequence[LogitsFn], originals: jax.Array
) -> Callable[[jax.Array], jax.Array]:
    """How like their originals several networks find images.

    Args:
      networks: see `features`; at least one.
      originals: float32 [B, H, W, 3] in pixel units.

    Returns:
      From images of that shape to float32 [B], the sum of the cosines of all networks. At the
      originals themselves, where it is largest, its gradient is 0.

    Raises:
      ValueError: no network.
    """
    if not networks:
        raise ValueError("an attack needs at least one network; networks is empty")
    references = [features(network, originals) for network in networks]

    def like(images):
        pairs = zip(networks, references, strict=True)
        return sum(cosine(features(network, images), reference) for network, reference in pairs)

    return like
