import jax
import jax.numpy as jnp
import numpy as np

from raeg_jax.adversarial.features import features
from raeg_jax.networks.classifiers import FrozenClassifier
from raeg_jax.networks.function import function_network


def read(variables, images):
    """Each variable has a part of its own in the result."""
    mean = jnp.mean(images, axis=(1, 2)) @ variables["list"][0]
    return mean * variables["scale"] + variables["list"][1]["bias"]


VARIABLES = {
    "scale": np.float32(2.0),
    "list": [np.float32([[1, 2], [3, 4], [5, 6]]), {"bias": np.float32([10, 20])}],
}


def test_a_function_and_any_tree_of_variables_are_a_classifier():
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 40, 3)).astype(np.float32)
    module, variables = function_network(read, VARIABLES)
    assert sorted(variables["params"]) == ["list.0", "list.1.bias", "scale"]
    classifier = FrozenClassifier(module, variables)
    expected = read(VARIABLES, images)
    np.testing.assert_allclose(classifier(images), expected, rtol=1e-5)
    # As an argument of compiled programs, which sort its variables.
    np.testing.assert_allclose(jax.jit(lambda f, x: f(x))(classifier, images), expected, rtol=1e-5)
    np.testing.assert_allclose(features(classifier, images), expected, rtol=1e-5)
    again, _ = function_network(read, VARIABLES)
    assert (again, hash(again)) == (module, hash(module))


def test_small_images_are_continued():
    module, variables = function_network(lambda v, x: jnp.zeros((len(x), 2)) + x.shape[1], {})
    np.testing.assert_array_equal(FrozenClassifier(module, variables)(np.zeros((1, 5, 40, 3))), 32)
