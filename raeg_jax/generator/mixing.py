"""Mixings: the bases in which couplings split their channels into two halves.

A coupling K in the basis of a mixing M becomes M^-1 K M. So a fresh generator, whose couplings are
the identity, is the identity with any mixing, and every block restores the order of the wavelet
bands.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


class NoMixing(nn.Module):
    """No mixing: the low half against the high half of the bands; `index` is not used."""

    channels: int
    index: int

    def forward(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """[..., C] -> [..., C]."""
        return x

    def inverse(self, y: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """The reverse of `forward`."""
        return y


class Permutation(NoMixing):
    """A fixed random permutation of the channels, drawn from `index`."""

    def _order(self):
        # NumPy guarantees that RandomState never changes: files outlive JAX versions.
        return np.random.RandomState(self.index).permutation(self.channels)

    def forward(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """[..., C] -> [..., C]."""
        return x[..., self._order()]

    def inverse(self, y: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """The reverse of `forward`."""
        return y[..., np.argsort(self._order())]


class Conv1x1(NoMixing):
    """Learned invertible 1 x 1 convolution, W = P L (U + diag(exp(s))) (Glow, section 3.2).

    P is fixed, L unit lower and U strictly upper triangular; |s| <= 1 keeps W well-conditioned.
    It is applied only where every channel exists; elsewhere the channels stay unmixed.
    """

    def setup(self):
        channels, state = self.channels, np.random.RandomState(self.index)
        self._order = state.permutation(channels)
        small = nn.initializers.normal(0.05)
        self.lower = self.param("lower", small, (channels, channels))
        self.upper = self.param("upper", small, (channels, channels))
        self.log_diagonal = self.param("log_diagonal", nn.initializers.zeros, (channels,))

    def _factors(self):
        lower = jnp.tril(self.lower, -1) + jnp.eye(self.channels)
        return lower, jnp.triu(self.upper, 1) + jnp.diag(jnp.exp(jnp.tanh(self.log_diagonal)))

    def forward(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """[..., C] -> [..., C]."""
        lower, upper = self._factors()
        matrix = (lower @ upper)[self._order]
        return _where_complete(mask, jnp.einsum("ij,...j->...i", matrix, x, precision="highest"), x)

    def inverse(self, y: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """The reverse of `forward`, by two triangular solves."""
        lower, upper = self._factors()
        columns = y[..., np.argsort(self._order)].reshape(-1, self.channels).T
        columns = jax.scipy.linalg.solve_triangular(lower, columns, lower=True)
        columns = jax.scipy.linalg.solve_triangular(upper, columns, lower=False)
        return _where_complete(mask, columns.T.reshape(y.shape), y)


def _where_complete(mask, mixed, plain):
    return mixed if mask is None else jnp.where(mask.min(-1, keepdims=True) > 0, mixed, plain)


def mixed_mask(mixing: nn.Module, mask: jax.Array | None) -> jax.Array | None:
    """The mask of mixed channels: a permutation of channels permutes their mask."""
    if mask is None:
        return None
    return mixing.forward(mask) if isinstance(mixing, Permutation) else mask


MIXINGS: dict[str, Callable[..., nn.Module]] = {
    "none": NoMixing,
    "permutation": Permutation,
    "conv1x1": Conv1x1,
}
