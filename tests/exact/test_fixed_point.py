"""Fixed point: rounding of weights and activations, and exact sums."""

import jax
import numpy as np
import pytest

from raeg_jax.errors import UserError
from raeg_jax.exact import fixed_point
from raeg_jax.exact.fixed_point import (
    FixedConv,
    check_sums,
    integer_weights,
    largest_sum,
    product,
    snap,
    snap_weights,
)


def layer(kernel, bias=None):
    bias = np.zeros(kernel.shape[-1]) if bias is None else bias
    return {"kernel": np.float32(kernel), "bias": np.float32(bias)}


def test_activations_are_whole_thirty_seconds_of_seven_bits():
    x = np.float32([0, 0.3, -0.3, 1 / 64, 3 / 64, 3.99, -5, 1e9])
    expected = [0, 10 / 32, -10 / 32, 0, 2 / 32, 127 / 32, -127 / 32, 127 / 32]
    np.testing.assert_array_equal(snap(x), np.float32(expected))
    slopes = jax.vmap(jax.grad(snap))(np.float32([0.3, -3.9, 4.5, -4.5]))
    np.testing.assert_array_equal(slopes, [1, 1, 0, 0])


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e-3, 0.03, 1.0, 127.0, 1e3])
def test_rounded_weights_have_seven_bits_and_stay_when_rounded_again(scale):
    random = np.random.RandomState(0)
    kernel = np.float32(scale * random.randn(3, 3, 8, 5) * [1, 3, 0.1, 1, 1])
    bias = np.float32(scale * random.randn(5))
    kernel_q, bias_q, units = (np.asarray(x) for x in snap_weights(kernel, bias))
    whole = kernel_q * units
    expected = whole, bias_q * units * 32, units
    jax.tree.map(np.testing.assert_array_equal, integer_weights(kernel, bias), expected)
    np.testing.assert_array_equal(whole, np.round(whole))
    assert np.abs(whole).max() <= 127
    # The largest weight of a channel uses all bits, unless units are the finest or coarsest.
    ordinary = (units > 1) & (units < 2**12)
    assert np.all(np.abs(whole).max((0, 1, 2))[ordinary] >= 64)
    again = snap_weights(kernel_q, bias_q)
    jax.tree.map(np.testing.assert_array_equal, again, (kernel_q, bias_q, units))


@pytest.mark.parametrize("fan_in", [1, 27, 864, 1040, 1041, 4608, 9216])
def test_no_weights_within_their_limit_can_make_a_sum_too_large(fan_in):
    kernel = np.full((1, 1, fan_in, 2), 1e3)
    assert largest_sum(kernel, np.full(2, 1e9)) < fixed_point.SUM_LIMIT
    assert fixed_point.weight_limit(fan_in) % 2 == 1


def exact_sums(kernel, bias, x):
    """Of a 1 x 1 convolution, in int64, back in units of 1."""
    kernel, bias, units = (np.asarray(a, np.float64) for a in snap_weights(kernel, bias))
    whole = np.int64(x * 32) @ np.int64(kernel[0, 0] * units) + np.int64(bias * units * 32)
    return whole / (units * 32)


def test_sums_near_the_bound_are_exact_and_beyond_it_they_are_not(monkeypatch):
    """What makes recovery exact is the bound, not luck: without it sums lose their last bits."""
    random = np.random.RandomState(0)
    fan_in = 3000
    # The largest weight is the limit itself.
    peak = fixed_point.weight_limit(fan_in) / 32
    kernel = np.float32(peak * random.uniform(0.8, 1, (1, 1, fan_in, 8)))
    kernel[0, 0, 0] = peak
    x = np.float32(random.randint(110, 128, (4, 1, 1, fan_in)) / 32)
    conv = FixedConv(8, (1, 1), snapped=False)

    def sums():
        return conv.apply({"params": layer(kernel)}, x), exact_sums(kernel, np.zeros(8), x)

    assert largest_sum(kernel, np.zeros(8)) > 0.8 * fixed_point.SUM_LIMIT
    np.testing.assert_array_equal(*sums())
    monkeypatch.setattr(fixed_point, "weight_limit", lambda _: 127)
    assert largest_sum(kernel, np.zeros(8)) > fixed_point.SUM_LIMIT
    with pytest.raises(UserError, match=r"weights of a/b.*2\^24"):
        check_sums({"a": {"b": layer(kernel)}})
    computed, exact = sums()
    assert np.any(computed != exact)


def test_weights_that_are_not_finite_are_refused():
    check_sums({"a": layer(np.ones((1, 1, 2, 2)))})
    with pytest.raises(UserError, match=r"weights of a/b.*not finite"):
        check_sums({"a": {"b": layer(np.full((1, 1, 2, 2), np.nan))}})


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (5, 8)])
def test_convolution_is_that_of_jax(size, strides):
    random = np.random.RandomState(0)
    x = np.asarray(snap(np.float32(random.randn(2, *size, 4))))
    kernel, bias = np.float32(random.randn(3, 3, 4, 6)), np.float32(random.randn(6))
    conv = FixedConv(6, (3, 3), strides, snapped=False)
    result = conv.apply({"params": layer(kernel, bias)}, x)
    kernel, bias, _ = snap_weights(kernel, bias)
    expected = jax.lax.conv_general_dilated(
        x, kernel, (strides,) * 2, ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(result, expected + bias, rtol=1e-6, atol=1e-6)


def test_nothing_is_lost_to_matrix_units_that_keep_eight_bits_of_each_factor(monkeypatch):
    x, net = snap(np.float32(np.random.RandomState(0).randn(2, 5, 5, 8))), FixedConv(4, (3, 3))
    variables = net.init(jax.random.key(0), x)
    expected = net.apply(variables, x)

    def rounded(x, kernel):
        return product(*(jax.lax.reduce_precision(factor, 8, 7) for factor in (x, kernel)))

    monkeypatch.setattr(fixed_point, "product", rounded)
    fixed_point._convolve.clear_cache()
    np.testing.assert_array_equal(net.apply(variables, x), expected)
    # Other weights would not come through.
    monkeypatch.setattr(fixed_point, "snap_weights", lambda kernel, bias: (kernel, bias, None))
    fixed_point._convolve.clear_cache()
    loose = net.clone(snapped=False)
    result = loose.apply(variables, x)
    monkeypatch.setattr(fixed_point, "product", product)
    fixed_point._convolve.clear_cache()
    assert np.any(result != loose.apply(variables, x))
    monkeypatch.undo()
    fixed_point._convolve.clear_cache()
