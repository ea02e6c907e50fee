"""Pooling and input scaling against Flax, a plain loop and ImageNet's own numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

from raeg_jax.networks.layers import (
    Halve,
    MeanPool,
    Standardise,
    at_least,
    enlarge,
    network_input,
    preprocessing_of,
    relu6,
    standardise,
)
from raeg_jax.networks.preprocessing import Preprocessing


def maps_of(shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("shape", [(2, 6, 8, 3), (1, 7, 5, 4)])
@pytest.mark.parametrize(("mean", "oracle"), [(False, nn.max_pool), (True, nn.avg_pool)])
def test_halving_is_flax_pooling(shape, mean, oracle):
    x = maps_of(shape)
    np.testing.assert_allclose(Halve(mean)(x), oracle(x, (2, 2), (2, 2)), rtol=1e-6, atol=1e-6)

    def gradient(pool):
        return jax.grad(lambda x: jnp.sum(jnp.sin(pool(x))))(x)

    np.testing.assert_allclose(
        gradient(lambda x: Halve(mean)(x)),
        gradient(lambda x: oracle(x, (2, 2), (2, 2))),
        rtol=1e-5,
        atol=1e-6,
    )


def test_the_gradient_of_pooling_is_right_whatever_is_computed_twice():
    """The sample that gets it is not searched by its value, which may come out otherwise again."""
    x, factor = maps_of((2, 6, 8, 3)), jnp.float32(1.1)

    @jax.jit
    def gradient(x, factor):
        return jax.grad(lambda x: jnp.sum(Halve()(x * factor + factor / 3)))(x)

    result = np.asarray(gradient(x, factor)).reshape(2, 3, 2, 4, 2, 3)
    np.testing.assert_array_equal(np.sum(result > 0, axis=(2, 4)), 1)


def test_the_first_of_equal_samples_gets_the_gradient_of_pooling():
    result = jax.grad(lambda x: jnp.sum(Halve()(x)))(jnp.ones((1, 2, 2, 1)))
    np.testing.assert_array_equal(result.ravel(), [1, 0, 0, 0])


@pytest.mark.parametrize("side", [(1, 1), (3, 7), (7, 7), (10, 16), (14, 21)])
@pytest.mark.parametrize("size", [1, 7])
def test_mean_pool_averages_windows_of_every_size(side, size):
    x = maps_of((2, *side, 3))
    expected = np.zeros((2, size, size, 3), np.float32)
    for i, j in np.ndindex(size, size):
        window = [
            slice(int(np.floor(k * n / size)), int(np.ceil((k + 1) * n / size)))
            for k, n in zip((i, j), side, strict=True)
        ]
        expected[:, i, j] = np.asarray(x)[:, window[0], window[1]].mean(axis=(1, 2))
    pooled = MeanPool(size)(x)
    np.testing.assert_allclose(pooled, expected.reshape(2, -1), rtol=1e-5, atol=1e-6)


def test_standardisation_is_that_of_imagenet():
    images = jnp.stack([jnp.zeros((32, 32, 3)), jnp.full((32, 32, 3), 255.0)])
    black, white = Standardise()(images)[:, 0, 0]
    # torchvision: (x / 255 - mean) / std with mean .485 .456 .406 and std .229 .224 .225.
    np.testing.assert_allclose(black, [-2.11790, -2.03571, -1.80444], atol=1e-4)
    np.testing.assert_allclose(white, [2.24891, 2.42857, 2.64000], atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 5, 40, 3), (1, 1, 1, 3), (2, 20, 31, 3)])
def test_small_images_are_continued_by_reflection(shape):
    x = maps_of(shape)
    grown = at_least(x, 32)
    margins = [(0, max(0, 32 - side)) for side in shape[1:3]]
    np.testing.assert_array_equal(grown, np.pad(x, ((0, 0), *margins, (0, 0)), mode="symmetric"))


def test_images_that_are_large_enough_stay_as_they_are():
    x = maps_of((1, 32, 40, 3))
    assert at_least(x, 32) is x


def test_published_weights_have_a_scale_of_their_own():
    images = jnp.stack([jnp.zeros((32, 32, 3)), jnp.full((32, 32, 3), 255.0)])
    layer = standardise(Preprocessing(mean=(127.0, 0.0, 255.0), std=(128.0, 1.0, 51.0)))
    black, white = layer(images)[:, 0, 0]
    np.testing.assert_allclose(black, [-127 / 128, 0, -5])
    np.testing.assert_allclose(white, [1, 255, 0])
    assert standardise(None) == Standardise()


@pytest.mark.parametrize(
    ("shape", "side", "times"),
    [
        ((2, 84, 84, 3), 224, 3),
        ((1, 30, 50, 3), 224, 7),
        ((1, 64, 64, 3), 96, 2),  # 1.5, to the even
        ((1, 64, 70, 3), 95, 1),
        ((1, 300, 400, 3), 224, 1),
        ((1, 7, 5, 1), 16, 3),
    ],
)
def test_small_images_come_near_the_size_of_a_network(shape, side, times):
    x = maps_of(shape)
    expected = np.repeat(np.repeat(x, times, axis=1), times, axis=2)
    np.testing.assert_array_equal(enlarge(x, side), expected)


@pytest.mark.parametrize("shape", [(1, 20, 25, 3), (1, 3, 40, 3), (2, 84, 84, 3)])
def test_a_network_gets_at_least_its_smallest_input(shape):
    x = maps_of(shape)
    np.testing.assert_array_equal(network_input(x, None), at_least(x, 32))
    fitted = network_input(x, Preprocessing(resize=48, crop=41))
    np.testing.assert_array_equal(fitted, at_least(enlarge(x, 41), 32))
    assert min(fitted.shape[1:3]) >= 32


@pytest.mark.parametrize(
    ("shape", "seen"), [((32, 32), (48, 48)), ((20, 33), (48, 79)), ((50, 60), (50, 60))]
)
def test_heads_see_small_images_enlarged_as_pillow_does(shape, seen):
    x = np.float32(np.random.RandomState(0).randint(0, 256, (1, *shape, 3)))
    result = np.asarray(network_input(x, Preprocessing().for_run(48)))
    image = Image.fromarray(np.uint8(x[0])).resize(seen[::-1], Image.Resampling.BILINEAR)
    # Pillow rounds after each axis.
    np.testing.assert_allclose(result[0], np.asarray(image, np.float32), atol=1.01)


def test_only_published_networks_have_preprocessing():
    assert preprocessing_of(None) is preprocessing_of(nn.Dense(3)) is None


def test_relu6_ends_at_six_and_its_gradient_at_both_ends():
    x = jnp.array([-1.0, 0.0, 0.5, 5.5, 6.0, 7.0])
    np.testing.assert_array_equal(relu6(x), [0, 0, 0.5, 5.5, 6, 6])
    gradient = jax.grad(lambda x: jnp.sum(relu6(x)))(x)
    np.testing.assert_array_equal(gradient, [0, 0, 1, 1, 0, 0])
