"""Kernels as int8: what rounding does, what comes back bit for bit, and impossible numbers."""

import numpy as np
import pytest

from raeg_jax.errors import UserError
from raeg_jax.networks.int8 import from_int8, pack, round_kernels, to_int8, unpack


def kernel(shape=(3, 3, 8, 16), seed=0):
    """Channels of very different sizes, as folded and pruned networks have them."""
    random = np.random.default_rng(seed)
    return np.float32(random.normal(size=shape) * 10.0 ** random.integers(-6, 3, shape[-1]))


def test_rounding_is_to_the_nearest_and_the_largest_is_64_to_127_units():
    values = kernel()
    numbers, exponents = to_int8(values)
    assert (numbers.dtype, exponents.dtype) == (np.int8, np.int8)
    largest = np.abs(numbers.astype(int)).max(axis=(0, 1, 2))
    assert largest.min() >= 64
    assert largest.max() <= 127
    units = 2.0 ** -exponents.astype(float)
    assert np.all(np.abs(numbers * units - values) <= units / 2)


def test_rounding_what_is_rounded_changes_nothing():
    # The largest may round up to the next power of two.
    edges = np.float32([[63.5, 63.49, 127, 127.01, 127.5, 128, 64, 0]])
    for values in (kernel(), kernel((40, 10), 1), edges, -edges / 3e5):
        rounded = from_int8("a", *to_int8(values))
        assert rounded.tobytes() == from_int8("a", *to_int8(rounded)).tobytes()
        assert not np.signbit(rounded[rounded == 0]).any()


def test_the_largest_and_smallest_numbers_of_float32_are_no_exception():
    values = np.float32([[3e38, -1e38, 1e-45, 1e-37], [1, 2, 3e-42, 0]])
    rounded = from_int8("a", *to_int8(values))
    assert np.isfinite(rounded).all()
    assert rounded.tobytes() == from_int8("a", *to_int8(rounded)).tobytes()


def arrays():
    return {
        "params/stem/kernel": kernel(),
        "params/depthwise/kernel": kernel((3, 3, 1, 16)),
        "params/dense/kernel": kernel((30, 10)),
        "params/dense/bias": kernel((10,)),
        "batch_stats/stem/mean": kernel((16,)),
    }


def test_rounded_kernels_are_a_byte_a_weight_and_come_back_bit_for_bit():
    rounded = round_kernels(arrays())
    packed = pack(rounded)
    assert {name for name, array in packed.items() if array.dtype == np.int8} == {
        *("params/stem/kernel", "params/stem/exponents"),
        *("params/dense/kernel", "params/dense/exponents"),
    }
    back = unpack(packed)
    assert back.keys() == rounded.keys() == arrays().keys()
    for name, array in rounded.items():
        assert back[name].dtype == np.float32
        assert back[name].tobytes() == array.tobytes()
    for name in ("params/depthwise/kernel", "params/dense/bias", "batch_stats/stem/mean"):
        np.testing.assert_array_equal(rounded[name], arrays()[name])


@pytest.mark.parametrize("change", [lambda x: np.nextafter(x, 9), lambda x: x * 0 + np.nan])
def test_kernels_of_which_a_bit_would_be_lost_stay_floats(change):
    exact = round_kernels(arrays())
    changed = exact["params/stem/kernel"].copy()
    changed[0, 0, 0, 0] = change(changed[0, 0, 0, 0])
    minus = exact["params/dense/kernel"].copy()
    minus[0, 0] = -0.0
    packed = pack(exact | {"params/stem/kernel": changed, "params/dense/kernel": minus})
    assert all(array.dtype == np.float32 for array in packed.values())
    assert unpack(packed).keys() == exact.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exponents": None}, "params/dense isn't a layer of whole numbers with exponents: use"),
        ({"kernel": None}, "params/dense isn't a layer of whole numbers with exponents: use"),
        ({"exponents": np.zeros(10, np.int32)}, "dense isn't a layer of whole numbers with exp"),
        ({"kernel": kernel((30, 10))}, "params/dense isn't a layer of whole numbers with exponen"),
        ({"exponents": np.zeros(9, np.int8)}, "params/dense has other channels than exponents"),
        ({"exponents": np.int8([121] * 10)}, "dense/exponents aren't all -120 to 120: take"),
        ({"exponents": np.int8([-121] * 10)}, "dense/exponents aren't all -120 to 120: take"),
        ({"kernel": np.full((30, 10), -128, np.int8)}, "dense/kernel isn't all -127 to 127"),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_impossible_numbers_are_named(change, message, backwards):
    changed = pack(round_kernels(arrays()))
    for part, array in change.items():
        changed[f"params/dense/{part}"] = array
    items = [(name, array) for name, array in changed.items() if array is not None]
    with pytest.raises(UserError, match=message):
        unpack(dict(items[::-1] if backwards else items))
