"""Distortions in fixed point: NumPy's bits in any batch, and close to those in floating point."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data

from raeg_jax.adversarial.distortions import DISTORTIONS, fixed_view, view
from raeg_jax.errors import UserError
from raeg_jax.exact.views import whole_weights
from raeg_jax.generator.build import parse_view
from tests.oracles import integer_views

VIEWS = [
    "identity", "jpeg:75", "gaussian_blur:0", "gaussian_blur:1.3", "gaussian_blur:20",
    "bit_depth:3", "bit_depth:8", "grey", "rescale:0.5", "rescale:0.3", "rescale:0.01",
]  # fmt: skip


def photographs(height=27, width=41):
    """In sixteenths, int64 [3, height, width, 3]; black and white beside a photograph."""
    random, coffee = np.random.default_rng(0), np.int64(skimage.data.coffee())
    crop = 16 * coffee[90 : 90 + height, 200 : 200 + width]
    crop = np.clip(crop + random.integers(-7, 8, crop.shape), 0, 4080)
    extremes = np.where(random.random(crop.shape) < 0.5, 0, 4080)
    return np.stack([crop, extremes, crop[::-1] // 2])


def slopes(shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def apply(function, name, strength):
    """Of float32 images and slopes: the view, and the slopes pulled back through it."""

    @jax.jit
    def both(x, g):
        seen, pull = jax.vjp(lambda x: function(x, name, strength), x)
        return seen, pull(g)[0]

    return lambda x, g: [np.asarray(result) for result in both(x, g)]


@pytest.mark.parametrize("text", VIEWS)
def test_the_bits_are_those_of_numpy_in_any_batch(text):
    name, strength = parse_view(text)
    x = photographs()
    g = slopes(x.shape)
    run = apply(fixed_view, name, strength)
    seen, pulled = run(np.float32(x) / 16, g)
    expected, pull = integer_views.view(name, strength)(x)
    np.testing.assert_array_equal(seen * 16, expected)
    np.testing.assert_array_equal(pulled, pull(g))
    assert seen.min() >= 0
    assert seen.max() <= 255
    alone = run(np.float32(x[1:2]) / 16, g[1:2])
    np.testing.assert_array_equal(alone, [seen[1:2], pulled[1:2]])


# Halves, which 8 bits can't hold, are rounded to even in floating point.
@pytest.mark.parametrize("text", [text for text in VIEWS if text != "bit_depth:8"])
def test_they_are_close_to_those_in_floating_point(text):
    name, strength = parse_view(text)
    x = np.float32(photographs())[::2] / 16
    g = slopes(x.shape)
    seen, pulled = apply(fixed_view, name, strength)(x, g)
    expected, slope = apply(view, name, strength)(x, g)
    # Two axes, or four, each rounded to sixteenths.
    np.testing.assert_allclose(seen, expected, atol=0.13)
    if name != "jpeg":
        norms = np.linalg.norm(pulled), np.linalg.norm(slope)
        assert np.sum(pulled * slope) / norms[0] / norms[1] > 0.99
        assert 0.9 < norms[0] / norms[1] < 1.1


def test_views_are_the_distortions_with_a_form_in_fixed_point():
    fixed = {name: d for name, d in DISTORTIONS.items() if d.fixed is not None}
    assert {name for name, d in fixed.items() if not d.limits} == {"identity", "grey"}
    assert not any(distortion.random_keys for distortion in fixed.values())
    with pytest.raises(UserError, match="view 'sharpen:1' is unknown"):
        parse_view("sharpen:1")
    with pytest.raises(ValueError, match="median_blur is no view"):
        fixed_view(jnp.zeros((1, 8, 8, 3)), "median_blur", 3)


def test_whole_weights_add_up_and_stay_near_their_shares():
    numerators = np.random.default_rng(0).integers(0, 2**40, (50, 300))
    weights = whole_weights(numerators)
    np.testing.assert_array_equal(weights.sum(1), 4096)
    shares = numerators / numerators.sum(1, keepdims=True) * 4096
    assert np.abs(weights - shares).max() < 1
