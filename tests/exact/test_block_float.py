"""Block floating point: sums that are exact, forwards and backwards, and images on their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.errors import UserError
from raeg_jax.exact import block_float
from raeg_jax.exact.block_float import (
    PUBLISHED,
    Split,
    conv,
    make_layer,
    scale,
    snap,
    to_integers,
)
from raeg_jax.exact.fixed_point import product


def normal(*shape, seed=0):
    return np.float32(np.random.RandomState(seed).randn(*shape))


def test_the_largest_of_an_image_has_all_bits():
    x = np.float32([[0.3, -1.0], [127, 1], [127.9, 63.5], [0, 0], [1e-30, 0]])
    numbers, step = to_integers(x)
    np.testing.assert_array_equal(numbers[:3], [[19, -64], [127, 1], [127, 64]])
    np.testing.assert_array_equal(step[:, 0], [2.0**-6, 1, 1, 2.0**-60, 2.0**-60])
    numbers, step = to_integers(x[:1], 12, 3)
    np.testing.assert_array_equal([numbers[0, 0], step[0, 0]], [0, 8])


@pytest.mark.parametrize("bits", [7, 12])
def test_rounding_twice_changes_nothing_and_gradients_are_rounded_too(bits):
    x, g = normal(3, 5), normal(3, 5, seed=1)
    once, back = jax.vjp(lambda x: snap(x, bits), x)
    np.testing.assert_array_equal(snap(once, bits), once)
    np.testing.assert_allclose(once, x, atol=2.0 ** (3 - bits))
    np.testing.assert_array_equal(back(g)[0], snap(g, bits))


def exact(x, layer, strides):
    """The convolution of whole numbers in float64, and its gradient for another one's."""

    def run(x):
        return jax.lax.conv_general_dilated(
            x, np.asarray(layer.kernel), (strides,) * 2,
            [(side // 2,) * 2 for side in layer.kernel.shape[:2]],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    return run(x), jax.linear_transpose(run, x)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("size", [(3, 3), (1, 1)])
def test_convolutions_and_their_gradients_are_those_of_whole_numbers(size, strides):
    x = normal(2, 7, 6, 4) * np.float32([1, 1e-3])[:, None, None, None]
    layer = make_layer(np.float64(normal(*size, 4, 6)), np.float64(normal(6)))
    y, pull = jax.vjp(lambda x: conv(x, layer, strides), x)
    numbers, step = to_integers(x, least=layer.least)
    sums, back = exact(numbers, layer, strides)
    offsets = np.round(layer.bias / step)
    np.testing.assert_array_equal(y, (sums + offsets) * step * layer.units)
    g = normal(*y.shape, seed=3)
    numbers, step = to_integers(g * layer.units)
    np.testing.assert_array_equal(pull(g)[0], back(numbers)[0] * step)


def test_pixels_are_seen_with_all_their_bits():
    x = np.float32(np.random.RandomState(0).randint(-154 * 16, 154 * 16 + 1, (2, 5, 5, 3)) / 16)
    layer = make_layer(np.float64(normal(3, 3, 3, 4)) / 50, np.float64(normal(4)), pixels=True)
    sums, _ = exact(16 * x, layer, 1)
    expected = (sums + np.round(layer.bias * 16)) / 16 * layer.units
    result = conv(x, layer, 1, True)
    np.testing.assert_array_equal(result, expected)


def test_nothing_is_lost_to_matrix_units_that_keep_eight_bits_of_each_factor(monkeypatch):
    x = np.float32(np.random.RandomState(0).randint(-154 * 16, 154 * 16 + 1, (2, 5, 5, 3)) / 16)
    layer = make_layer(np.float64(normal(3, 3, 3, 4)) / 50, np.float64(normal(4)), pixels=True)
    inside = make_layer(np.float64(normal(3, 3, 3, 4)), np.float64(normal(4)))
    expected = conv(x, layer, 1, True), *jax.vjp(lambda x: conv(x, inside), x)
    g = normal(*expected[1].shape)

    def rounded(x, kernel):
        return product(*(jax.lax.reduce_precision(factor, 8, 7) for factor in (x, kernel)))

    monkeypatch.setattr(block_float, "product", rounded)
    result = conv(x, layer, 1, True), *jax.vjp(lambda x: conv(x, inside), x)
    np.testing.assert_array_equal(result[0], expected[0])
    np.testing.assert_array_equal(result[1], expected[1])
    np.testing.assert_array_equal(result[2](g)[0], expected[2](g)[0])
    # Pixels in one piece would lose some.
    whole_pixels = block_float._product(16 * x, layer, 1)
    assert np.any(whole_pixels != exact(16 * x, layer, 1)[0])


def test_sums_are_those_of_float32_whatever_the_precision_asked_for(monkeypatch):
    x = normal(2, 5, 5, 8)
    layer = make_layer(np.float64(normal(3, 3, 8, 4)), np.float64(normal(4)))
    run = jax.jit(lambda x: jax.vjp(lambda x: conv(x, layer), x))
    g = normal(2, 5, 5, 4)
    expected, pull = run(x)
    # The least that this processor obeys: sums in 16 bits.
    with jax.default_matmul_precision("F16_F16_F16"):
        result, low = run(x)
        np.testing.assert_array_equal(result, expected)
        np.testing.assert_array_equal(low(g)[0], pull(g)[0])
        monkeypatch.setattr(block_float, "product", lambda x, kernel: x @ kernel)
        assert np.any(conv(x, layer) != expected)


@pytest.mark.parametrize(
    ("size", "strides", "padding", "channels"),
    [
        ((3, 3), 2, ((0, 1), (1, 1)), 4),
        ((1, 1), 2, ((0, 0), (0, 0)), 4),
        ((5, 5), 2, ((1, 2), (2, 2)), None),
        ((3, 3), 1, ((1, 1), (0, 2)), None),
    ],
)
def test_published_convolutions_are_those_of_whole_numbers(size, strides, padding, channels):
    """Depthwise where there are no channels; of any padding."""
    x = normal(2, 8, 7, channels or 6) * np.float32([1, 1e-3])[:, None, None, None]
    shape = (*size, channels, 6) if channels else (*size, 6)
    layer = make_layer(np.float64(normal(*shape)), np.float64(normal(6)), widths=PUBLISHED)
    assert np.abs(layer.kernel).max() > (127 if channels else 255)
    assert layer.forward == layer.backward == Split()
    g = normal(2, *(4 if strides == 2 else n for n in (8, 7)), 6, seed=3)

    @jax.jit
    def value_and_gradient(x, g):
        y, pull = jax.vjp(lambda x: conv(x, layer, strides, False, padding), x)
        return y, pull(g)[0]

    y, result = value_and_gradient(x, g)
    kernel = layer.kernel if channels else layer.kernel[:, :, None]

    def run(x):
        return jax.lax.conv_general_dilated(
            x, kernel, (strides,) * 2, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=1 if channels else 6,
        )  # fmt: skip

    bits = 8 if channels else 10
    numbers, step = to_integers(x, bits, layer.least)
    expected = run(numbers) + np.round(layer.bias / step)
    np.testing.assert_array_equal(y, expected * step * layer.units)
    numbers, step = to_integers(g * layer.units, bits)
    (back,) = jax.linear_transpose(run, x)(numbers)
    np.testing.assert_array_equal(result, back * step)


def test_sums_that_are_too_large_are_split_into_exact_ones():
    """A dense layer as large as VGG's first: 25,088 inputs, here and back."""
    random = np.random.RandomState(0)
    kernel = random.uniform(0.2, 1, (1, 1, 25_088, 2)) * random.choice([1, 1, -1], (25_088, 1))
    for turned in (False, True):
        layer = make_layer(
            kernel.swapaxes(2, 3) if turned else kernel, np.zeros(2 + turned * 25_086),
            widths=PUBLISHED,
        )  # fmt: skip
        split = layer.backward if turned else layer.forward
        weights = np.int64(layer.kernel[0, 0].T if turned else layer.kernel[0, 0])
        numbers = random.randint(200, 256, (1, 25_088))
        x = np.float32(numbers)[:, None, None]
        if turned:
            _, pull = jax.vjp(
                lambda y, layer=layer: conv(y, layer), np.ones((1, 1, 1, 2), np.float32)
            )
            result = pull(x / layer.units)[0]
        else:
            result = conv(x, layer) / layer.units
        parts = numbers.reshape(split.parts, 1, -1) @ weights.reshape(split.parts, -1, 2)
        assert np.abs(parts).max() < 2**24 <= np.abs(parts.sum(0)).max()
        expected = np.rint(parts / 2**split.shift).sum(0)
        assert np.abs(expected).max() < 2**24
        np.testing.assert_array_equal(result[0, 0], expected * 2**split.shift)


def test_split_sums_of_a_convolution_lose_half_a_shift_for_each_part():
    random = np.random.RandomState(0)
    kernel = random.uniform(0.7, 0.99, (3, 3, 40, 256))
    layer = make_layer(kernel, np.zeros(256), widths=PUBLISHED)
    assert layer.forward.parts > 1
    assert layer.backward.shift > 1
    x = np.float32(random.randint(230, 256, (1, 3, 4, 40)))
    g = np.float32(random.randint(230, 256, (1, 3, 4, 256))) / layer.units
    y, pull = jax.vjp(lambda x: conv(x, layer), x)
    weights = np.float64(layer.kernel).reshape(9, 40, 256)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    padded_g = np.pad(g * layer.units, ((0, 0), (1, 1), (1, 1), (0, 0)))
    sums, back = 0, 0
    for tap, (i, j) in enumerate(np.ndindex(3, 3)):
        sums = sums + padded[:, i : i + 3, j : j + 4] @ weights[tap]
        back = back + padded_g[:, 2 - i : 5 - i, 2 - j : 6 - j] @ weights[tap].T
    for result, exact, split, taps in (
        (y / layer.units, sums, layer.forward, 1),
        (pull(g)[0], back, layer.backward, 9),
    ):
        numbers = np.asarray(result) / 2**split.shift
        np.testing.assert_array_equal(numbers, np.rint(numbers))
        assert np.abs(numbers).max() < 2**24 < np.abs(exact).max()
        np.testing.assert_allclose(result, exact, atol=split.parts * taps * 2**split.shift / 2)


def test_more_products_than_can_be_summed_exactly_are_refused():
    with pytest.raises(UserError, match="sums up 130000 products"):
        make_layer(np.ones((1, 1, 130_000, 2)), np.zeros(2))


def test_multiplications_of_channels_are_those_of_numbers():
    x, factor, offset = normal(2, 3, 3, 5), normal(5, seed=1), normal(5, seed=2)
    layer = make_layer(np.float64(factor), np.float64(offset))
    y, pull = jax.vjp(lambda x: scale(x, layer), x)
    np.testing.assert_allclose(y, x * factor + offset, atol=0.05)
    np.testing.assert_allclose(pull(np.ones_like(y))[0], np.ones_like(y) * factor, atol=0.02)


@pytest.mark.parametrize("shape", [(1, 1, 4000, 8), (3, 3, 16, 512), (1, 1, 8, 4000)])
def test_no_sum_can_be_too_large_in_either_direction(shape, monkeypatch):
    kernel = np.random.RandomState(0).uniform(0.9, 1, shape)
    x, g = np.ones((1, 4, 4, shape[2]), np.float32), np.ones((1, 4, 4, shape[3]), np.float32)

    def largest():
        layer = make_layer(kernel, np.full(shape[-1], 1e4))
        _, step = to_integers(x, least=layer.least)
        sums, back = exact(np.full_like(x, 127), layer, 1)
        offsets = jnp.abs(jnp.round(layer.bias / step))
        return float(max(jnp.max(sums + offsets), jnp.max(back(127 * g)[0])))

    assert largest() < 2**24
    # The bound is what keeps them below.
    monkeypatch.setattr(block_float, "weight_limit", lambda _: 127)
    assert largest() > 2**24


def test_sums_beyond_the_bound_would_not_be_exact(monkeypatch):
    kernel = np.random.RandomState(0).uniform(0.9, 1, (1, 1, 6000, 8))
    x = np.float32(np.random.RandomState(1).randint(100, 128, (1, 1, 1, 6000)))

    def wrong():
        layer = make_layer(kernel, np.zeros(8))
        expected = np.int64(x) @ np.int64(layer.kernel[0, 0])
        return np.any(np.float64(conv(x, layer) / layer.units) != expected)

    assert not wrong()
    monkeypatch.setattr(block_float, "weight_limit", lambda _: 127)
    assert wrong()


def test_large_biases_make_inputs_coarser_and_not_sums_too_large():
    layer = make_layer(np.full((1, 1, 1, 1), 1.0), np.array([3e5]))
    x = np.float32([1e-3, 1e5])[:, None, None, None]
    result = np.asarray(conv(x, layer))
    np.testing.assert_allclose(result.ravel(), [3e5, 4e5], rtol=0.01)
    numbers, _ = to_integers(x, least=layer.least)
    assert numbers[0] == 0


def test_faint_channels_do_not_make_inputs_coarser():
    kernel = np.concatenate([np.ones((1, 1, 4, 1)), np.full((1, 1, 4, 1), 1e-9)], axis=-1)
    assert make_layer(kernel, np.array([1.0, 1.0])).least < -10


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9])
def test_impossible_weights_are_refused(value):
    good, bad = np.ones((1, 1, 2, 2)), np.array([1, value])
    with pytest.raises(UserError, match="finite" if value != 1e9 else "larger"):
        make_layer(good * bad, np.ones(2))
    with pytest.raises(UserError, match="finite" if value != 1e9 else "larger"):
        make_layer(good, bad)
