"""The invertible down-samplings: exact inverses, and coefficients against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.generator.wavelet import HAAR, HAAR_INTEGER, UNSHUFFLE, validity

TRANSFORMS = {"haar": HAAR, "haar_integer": HAAR_INTEGER, "unshuffle": UNSHUFFLE}
FORWARD = {name: jax.jit(transform.forward) for name, transform in TRANSFORMS.items()}
# Largest error of the inverse on pixels of -1000..1000.
TOLERANCE = {"haar": 1e-3, "haar_integer": 0, "unshuffle": 0}
SIZES = [(1, 1), (1, 4), (3, 2), (7, 9), (8, 6)]
EVEN = [size for size in SIZES if size[0] % 2 == size[1] % 2 == 0]


def integers(shape, low=-1000, high=1000):
    values = np.random.default_rng(0).integers(low, high, shape, endpoint=True)
    return values.astype(np.float32)


def oracle_haar(a, b, c, d):
    return (a + b + c + d) / 2, (a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2


def oracle_haar_integer(a, b, c, d):
    """The S-transform in int64: floor division is part of the language here."""

    def analyse(first, second):
        difference = first - second
        return second + difference // 2, difference

    a, b, c, d = (v.astype(np.int64) for v in (a, b, c, d))
    (low_top, high_top), (low_bottom, high_bottom) = analyse(a, b), analyse(c, d)
    (ll, hl), (lh, hh) = analyse(low_top, low_bottom), analyse(high_top, high_bottom)
    return ll, lh, hl, hh


ORACLES = {
    "haar": oracle_haar,
    "haar_integer": oracle_haar_integer,
    "unshuffle": lambda a, b, c, d: (a, b, c, d),
}


@pytest.mark.parametrize("size", EVEN)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_coefficients_agree_with_numpy(name, size):
    x = integers((2, *size, 3))
    quads = x[:, ::2, ::2], x[:, ::2, 1::2], x[:, 1::2, ::2], x[:, 1::2, 1::2]
    expected = np.concatenate(ORACLES[name](*quads), -1)
    z = FORWARD[name](x)
    np.testing.assert_allclose(z, expected, rtol=0, atol=TOLERANCE[name])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_both_ways_undo_each_other(name, size):
    """In both orders: every image has coefficients, and every array of coefficients an image."""
    H, W = size
    x = integers((2, H, W, 3))
    inverse = jax.jit(lambda z: TRANSFORMS[name].inverse(z, H, W))
    z = np.asarray(FORWARD[name](x))
    np.testing.assert_allclose(inverse(z), x, rtol=0, atol=TOLERANCE[name])
    assert z.shape == (2, (H + 1) // 2, (W + 1) // 2, 12)
    mask = validity(H, W, 3)
    assert (mask is None) == (size in EVEN)
    if mask is not None:
        # As many coefficients as samples: nothing is stored twice.
        assert (mask.shape, mask.sum()) == ((1, *z.shape[1:]), H * W * 3)
        np.testing.assert_array_equal(z * (1 - mask), 0)
    z = integers(z.shape) * (1 if mask is None else mask)
    np.testing.assert_allclose(FORWARD[name](inverse(z)), z, rtol=0, atol=TOLERANCE[name])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["haar", "haar_integer"])
def test_low_bands_grow_by_the_gain_and_integers_stay_integers(name, size):
    flat = np.asarray(FORWARD[name](jnp.full((1, *size, 3), 77.0)))
    np.testing.assert_allclose(flat[..., :3], 77 * TRANSFORMS[name].gain, rtol=1e-6)
    np.testing.assert_allclose(flat[..., 3:], 0, atol=1e-4)
    if name == "haar_integer":
        z = np.asarray(FORWARD[name](integers((4, *size, 3), 0, 255)))
        np.testing.assert_array_equal(z, np.round(z))
        assert z[..., :3].min() >= 0
        assert z[..., :3].max() <= 255
        assert np.abs(z[..., 3:]).max() <= 510


def test_integer_transform_is_exact_on_large_values():
    """Far outside the pixel range, up to where float32 holds every sum of four."""
    x = integers((2, 8, 8, 3), -(2**21), 2**21)
    z = HAAR_INTEGER.forward(jnp.asarray(x))
    np.testing.assert_array_equal(HAAR_INTEGER.inverse(z, 8, 8), x)


def jacobian(function, size):
    """Of an image [1, H, W, 1]'s transform, as a square matrix."""
    x = jnp.asarray(integers((1, *size, 1)))
    return np.asarray(jax.jit(jax.jacobian(function))(x)).reshape(x.size, x.size)


@pytest.mark.parametrize("size", EVEN)
def test_haar_is_orthonormal(size):
    matrix = jacobian(HAAR.forward, size)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=1e-6)


def test_gradient_of_the_integer_transform_is_straight_through():
    """That of means and differences, as if nothing had been rounded down."""
    pairs = np.array([[0.5, 0.5], [1.0, -1.0]])
    expected = np.kron(pairs, pairs)
    forward = jacobian(HAAR_INTEGER.forward, (2, 2))
    np.testing.assert_allclose(forward, expected, atol=1e-6)
    inverse = jacobian(lambda z: HAAR_INTEGER.inverse(z.reshape(1, 1, 1, 4), 2, 2), (2, 2))
    np.testing.assert_allclose(inverse, np.linalg.inv(expected), atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_gradient_is_finite_and_reaches_every_sample(name, size):
    x = jnp.asarray(integers((1, *size, 3)))
    weights = jax.random.normal(jax.random.key(0), (4 * 3,))
    gradient = jax.jit(jax.grad(lambda x: (TRANSFORMS[name].forward(x) * weights).sum()))(x)
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient) != 0).all()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_channels_and_images_do_not_mix(name):
    x = jnp.asarray(integers((2, 6, 7, 3)))
    z = np.asarray(FORWARD[name](x))
    for image in range(2):
        for channel in range(3):
            alone = FORWARD[name](x[image : image + 1, :, :, channel : channel + 1])
            np.testing.assert_allclose(alone[0], z[image, :, :, channel::3], atol=1e-3)
