"""Published networks in exact arithmetic: bits of NumPy's integers, and images on their own."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from raeg_jax.exact import fixed_classifier
from raeg_jax.exact.folding import fold_classifier
from raeg_jax.networks.classifiers import FrozenClassifier
from raeg_jax.networks.layers import MeanPool
from tests.exact.random_classifiers import TINY_LITE, pictures, variables_of
from tests.oracles import integer_classifiers, integer_photograph

# The same network with a head of a run, for which images are enlarged by interpolation.
HEADED = TINY_LITE.clone(preprocessing=TINY_LITE.preprocessing.for_run(40))
# Logits of which the gradients are taken.
DIRECTIONS = np.eye(1000, dtype=np.float32)[[3, 700, 999]]
DIRECTIONS = DIRECTIONS - 2 * np.roll(DIRECTIONS, 1, axis=0)


@functools.cache
def tiny_lite():
    return fold_classifier("tiny", TINY_LITE, variables_of(TINY_LITE))


@jax.jit
def logits_and_gradient(classifier, x, g):
    logits, pull = jax.vjp(classifier, x)
    return logits, pull(g)[0]


# 14 x 21 is enlarged to 42 x 63. The maps of both have even and odd sides.
@pytest.mark.parametrize("size", [(14, 21), (37, 45)])
def test_numpy_integers_give_the_same_logits_and_gradients(size):
    x = pictures(*size)
    logits, gradient = logits_and_gradient(tiny_lite(), x, DIRECTIONS)
    expected, pull = integer_classifiers.lite(TINY_LITE, variables_of(TINY_LITE))(x)
    np.testing.assert_array_equal(logits, expected)
    np.testing.assert_array_equal(gradient, pull(DIRECTIONS))
    assert np.all(np.std(gradient, axis=(1, 2, 3)) > 0)


@pytest.mark.parametrize(("size", "seen"), [((14, 21), (40, 60)), ((37, 45), (40, 49))])
def test_numpy_integers_enlarge_images_for_heads_alike(size, seen):
    x, variables = pictures(*size), variables_of(TINY_LITE)
    logits, gradient = logits_and_gradient(
        fold_classifier("tiny", HEADED, variables), x, DIRECTIONS
    )
    enlarged, pull_back = integer_photograph.resized(np.int64(x * 16), seen)
    expected, pull = integer_classifiers.lite(TINY_LITE, variables)(np.float32(enlarged) / 16)
    np.testing.assert_array_equal(logits, expected)
    np.testing.assert_array_equal(gradient, pull_back(pull(DIRECTIONS)))
    assert np.all(np.std(gradient, axis=(1, 2, 3)) > 0)


def test_former_heads_repeat_pixels_as_published_networks_do():
    former = dataclasses.replace(HEADED.preprocessing, interpolates=False)
    x, variables = pictures(14, 21), variables_of(TINY_LITE)
    folded = fold_classifier("tiny", TINY_LITE.clone(preprocessing=former), variables)
    logits, gradient = logits_and_gradient(folded, x, DIRECTIONS)
    expected, expected_gradient = logits_and_gradient(tiny_lite(), x, DIRECTIONS)
    np.testing.assert_array_equal(logits, expected)
    np.testing.assert_array_equal(gradient, expected_gradient)


def test_nothing_depends_on_the_batch_or_its_order():
    x = pictures(14, 21)
    logits, gradient = logits_and_gradient(tiny_lite(), x, DIRECTIONS)
    for order in ([2, 0, 1], [1]):
        result = logits_and_gradient(tiny_lite(), x[order], DIRECTIONS[order])
        np.testing.assert_array_equal(result[0], logits[np.array(order)])
        np.testing.assert_array_equal(result[1], gradient[np.array(order)])


@pytest.mark.parametrize("module", [TINY_LITE, HEADED], ids=["published", "headed"])
def test_published_networks_read_as_in_floating_point(module):
    x, variables = pictures(14, 21), variables_of(TINY_LITE)
    expected, gradient = logits_and_gradient(FrozenClassifier(module, variables), x, DIRECTIONS)
    folded = fold_classifier("tiny", module, variables)
    logits, result = logits_and_gradient(folded, x, DIRECTIONS)
    np.testing.assert_allclose(logits, expected, atol=0.1 * np.std(expected))
    a, b = (np.asarray(g).reshape(3, -1) for g in (result, gradient))
    cosines = np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosines.min() > 0.8


@pytest.mark.parametrize(("original", "seen"), [((1, 1), (224, 224)), ((3, 40), (33, 440))])
def test_the_gradient_of_a_pixel_that_is_seen_often_is_exact(original, seen):
    shapes = ((1, *size, 3) for size in (original, seen))
    bits, terms = fixed_classifier._gradient_bits(*shapes), seen[0] // original[0]
    terms *= seen[1] // original[1]
    assert (2**bits - 1) * terms < 2**24 <= 2 ** (bits + 1) * terms


@pytest.mark.parametrize("shape", [(7, 7), (3, 15)])
def test_means_over_a_grid_are_those_of_the_published_networks(shape):
    x = np.float32(np.random.RandomState(0).randint(-500, 512, (2, *shape, 3)))
    x[:, 0, 0, 0] = 511
    pool = functools.partial(fixed_classifier._mean, size=7, widths=tiny_lite().widths)
    g = np.float32(np.random.RandomState(1).randint(-100, 100, (2, 7 * 7 * 3)))
    result, back = logits_and_gradient(jax.tree_util.Partial(pool), x, g)
    floating = jax.tree_util.Partial(lambda x: MeanPool(7).apply({}, x))
    expected, expected_back = logits_and_gradient(floating, x, g)
    # One rounding to 12 bits of a sum of up to 4 values.
    np.testing.assert_allclose(result, expected, atol=0.5)
    np.testing.assert_allclose(back, expected_back, atol=1)
