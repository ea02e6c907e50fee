"""Mixings: the bases in which couplings split their channels into two halves.

A coupling K in the basis of a mixing M becomes M^-1 K M. So a fresh generator, whose couplings are
the identity, is the identity with any mixing, and every block restores the order of the wavelet
bands.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

# Bound on |log scale| of `ActNorm`, and the largest share of it at the start, where it can learn.
MOST_LOG_SCALE = 2.0
_MOST_INITIAL = 0.9
# Learned numbers are of the order of one; pixels span 0..255.
_PIXELS = 64.0


class NoMixing(nn.Module):
    """No mixing: the low half against the high half of the bands; the base of all mixings.

    Attributes:
      channels: number C of channels.
      index: of the block in its network, for mixings that are drawn at random.
      exact: whether integers map to integers, and back bit for bit.
    """

    channels: int
    index: int
    exact: ClassVar[bool] = True

    def forward(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """[..., C] -> [..., C]."""
        return x

    def inverse(self, y: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """The reverse of `forward`."""
        return y

    def mixed_mask(self, mask: jax.Array | None) -> jax.Array | None:
        """The mask of the mixed channels."""
        return mask


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

    def mixed_mask(self, mask: jax.Array | None) -> jax.Array | None:
        """The mask of the mixed channels: a permutation of channels permutes their mask."""
        return None if mask is None else self.forward(mask)


class Rotation(NoMixing):
    """A fixed random rotation of the channels, drawn from `index`; FrEIA's soft permutation.

    It is applied only where every channel exists; elsewhere the channels stay unmixed.
    """

    exact: ClassVar[bool] = False

    def matrix(self) -> np.ndarray:
        """float32 [C, C], orthogonal with determinant 1, evenly distributed over all of these."""
        normal = np.random.RandomState(self.index).randn(self.channels, self.channels)
        # With a positive diagonal of R, the decomposition is unique.
        q, r = np.linalg.qr(normal)
        q *= np.sign(np.diag(r))
        q[:, 0] *= np.linalg.det(q)
        return q.astype(np.float32)

    def forward(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """[..., C] -> [..., C]."""
        return _where_complete(mask, _multiply(self.matrix(), x), x)

    def inverse(self, y: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """The reverse of `forward`."""
        return _where_complete(mask, _multiply(self.matrix().T, y), y)


class Conv1x1(NoMixing):
    """Learned invertible 1 x 1 convolution, W = P L (U + diag(exp(s))) (Glow, section 3.2).

    It learns the LU decomposition of its matrix: P is fixed, L unit lower and U strictly upper
    triangular; |s| <= 1 keeps W well-conditioned. It is applied only where every channel exists;
    elsewhere the channels stay unmixed.
    """

    exact: ClassVar[bool] = False

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
        return _where_complete(mask, _multiply((lower @ upper)[self._order], x), x)

    def inverse(self, y: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """The reverse of `forward`, by two triangular solves."""
        lower, upper = self._factors()
        columns = y[..., np.argsort(self._order)].reshape(-1, self.channels).T
        columns = jax.scipy.linalg.solve_triangular(lower, columns, lower=True)
        columns = jax.scipy.linalg.solve_triangular(upper, columns, lower=False)
        return _where_complete(mask, columns.T.reshape(y.shape), y)


class ActNorm(NoMixing):
    """Normalises each channel, x' = (x + t) exp(s) (Glow, section 3.1), with learned s and t.

    `init` with images makes each channel's mean 0, and its standard deviation the geometric mean of
    all channels'; with zeros it begins with the identity. |s| <= 2 keeps it well-conditioned: the
    standard deviations of a wavelet's bands differ by a factor of about 20. Channels that don't
    exist stay as they are.
    """

    exact: ClassVar[bool] = False

    def setup(self):
        self.affine = _FromData()

    def _st(self, like, mask):
        s, t = self.affine(like)
        s, t = MOST_LOG_SCALE * jnp.tanh(s / MOST_LOG_SCALE), _PIXELS * t
        return (s, t) if mask is None else (s * mask, t * mask)

    def forward(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """[..., C] -> [..., C]."""
        s, t = self._st(x, mask)
        return (x + t) * jnp.exp(s)

    def inverse(self, y: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """The reverse of `forward`."""
        s, t = self._st(y, mask)
        return y * jnp.exp(-s) - t


class _FromData(nn.Module):
    """A log scale and a shift for each channel, at first those that normalise the first x."""

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        values = x.reshape(-1, x.shape[-1])

        def log_scale(_):
            # At least a grey level: of a plain image nothing is amplified.
            log = jnp.log(values.std(0).clip(1))
            wanted = (log.mean() - log) / MOST_LOG_SCALE
            return MOST_LOG_SCALE * jnp.arctanh(wanted.clip(-_MOST_INITIAL, _MOST_INITIAL))

        shift = self.param("shift", lambda _: -values.mean(0) / _PIXELS)
        return self.param("log_scale", log_scale), shift


def _multiply(matrix, x):
    """A matrix times the vector of channels at each position."""
    return jnp.einsum("ij,...j->...i", matrix, x, precision="highest")


def _where_complete(mask, mixed, plain):
    return mixed if mask is None else jnp.where(mask.min(-1, keepdims=True) > 0, mixed, plain)


MIXINGS: dict[str, type[NoMixing]] = {
    "none": NoMixing,
    "permutation": Permutation,
    "rotation": Rotation,
    "actnorm": ActNorm,
    "conv1x1": Conv1x1,
}
