"""Features of all classifiers and of other functions, and descents away from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from raeg_jax.adversarial.crops import random_crops
from raeg_jax.adversarial.features import cosine, features, likeness
from raeg_jax.networks.architectures import VGG, ResNet
from raeg_jax.networks.classifiers import FrozenClassifier
from raeg_jax.networks.function import function_network
from raeg_jax.networks.layers import small_stem
from tests.adversarial.toy_classifiers import curved, images_of


def random_variables(module, side):
    shapes = jax.eval_shape(
        lambda: module.init(jax.random.key(0), jnp.zeros((1, side, side, 3)), train=False)
    )
    random = np.random.default_rng(0)
    return jax.tree.map(lambda x: random.uniform(0.01, 0.1, x.shape).astype(np.float32), shapes)


NETWORKS = {
    "one dense layer": ResNet(5, (1,), width=4, stem=small_stem),
    "several": VGG(5, ((4,),), hidden=(6, 7), grid=1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_what_the_last_dense_layer_reads(name):
    module = NETWORKS[name]
    variables = random_variables(module, 32)
    images = np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    network = FrozenClassifier(module, variables)
    logits, found = jax.jit(lambda f, x: (f(x), features(f, x)))(network, images)
    last = variables["params"][max(n for n in variables["params"] if n.startswith("Dense"))]
    assert found.shape == (2, len(last["kernel"]))
    np.testing.assert_allclose(found @ last["kernel"] + last["bias"], logits, rtol=1e-4)


def test_of_another_function_the_result_is_the_features():
    images = images_of()
    np.testing.assert_array_equal(features(curved(), images), curved()(images))


def test_of_a_function_with_dense_layers_the_result_is_the_features_also_through_crops():
    images = np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    dense = nn.Dense(4)
    variables = dense.init(jax.random.key(0), jnp.zeros((1, 3)))

    def function(variables, images):
        return jnp.tanh(dense.apply(variables, jnp.mean(images, axis=(1, 2))))

    network = FrozenClassifier(*function_network(function, variables))
    np.testing.assert_array_equal(features(network, images), network(images))
    (crop,) = random_crops([network], images.shape, step=0, least=0.7)
    np.testing.assert_array_equal(features(crop, images), crop(images))


def test_cosines_are_those_of_numpy_and_zero_has_no_direction():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 3, 5)).astype(np.float32) * np.float32([[[1]], [[1e4]]])
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    np.testing.assert_allclose(cosine(a, b), np.sum(a * b, axis=-1) / lengths, rtol=1e-5)
    slope = jax.grad(lambda x: jnp.sum(cosine(x, b)))(jnp.zeros_like(b))
    assert np.all(np.isfinite(slope))
    np.testing.assert_array_equal(cosine(np.zeros_like(b), b), 0)


def test_likeness_is_the_sum_over_networks_and_largest_at_the_originals():
    networks, images = (curved(0), curved(1)), images_of()
    like = likeness(networks, images)
    np.testing.assert_allclose(like(images), 2, rtol=1e-5)
    slope = jax.grad(lambda x: jnp.sum(like(x)))(jnp.asarray(images))
    away = images_of(seed=1)
    far = jax.grad(lambda x: jnp.sum(like(x)))(jnp.asarray(away))
    assert np.abs(slope).max() < 1e-3 * np.abs(far).max()
    expected = sum(cosine(f(away), f(images)) for f in networks)
    np.testing.assert_allclose(like(away), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="networks is empty"):
        likeness([], images)
