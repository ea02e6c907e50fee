"""Classifiers in exact arithmetic read as the trained ones do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from raeg_jax.errors import UserError
from raeg_jax.exact import fixed_classifier
from raeg_jax.exact.block_float import OWN, Split
from raeg_jax.exact.block_float import PUBLISHED as WIDE
from raeg_jax.exact.folding import check_foldable, fold_classifier
from raeg_jax.networks.architectures import VGG, BottleneckBlock, DenseNet, ResNet
from raeg_jax.networks.classifiers import CLASSIFIERS, FrozenClassifier, build_classifier
from raeg_jax.networks.layers import MaxPool, Standardise
from raeg_jax.networks.preprocessing import PUBLISHED, Preprocessing
from tests.exact.random_classifiers import CLASSES, TINY, pictures, small, variables_of


@jax.jit
def logits_and_gradient(classifier, x, g):
    logits, pull = jax.vjp(classifier, x)
    return logits, pull(g)[0]


def cosine(a, b):
    a, b = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (a, b))
    return np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


_SLOW = sorted(n for n in CLASSIFIERS if n.endswith("_small") and n != "vgg_small")


@pytest.mark.parametrize(
    "name",
    ["vgg_small", *(pytest.param(n, marks=pytest.mark.slow) for n in _SLOW)],
)
def test_small_classifiers_read_alike_and_their_gradients_agree(name):
    module, variables = small(name)
    x, g = pictures(32, 32, 4), np.eye(CLASSES, dtype=np.float32)[:4]
    g = g - np.roll(g, 1, axis=1)
    logits, gradient = logits_and_gradient(FrozenClassifier(module, variables), x, g)
    result, result_gradient = logits_and_gradient(fold_classifier(name, module, variables), x, g)
    np.testing.assert_allclose(result, logits, atol=0.15 * np.std(logits))
    assert cosine(result_gradient, gradient).min() > 0.65


def test_every_batch_norm_after_a_convolution_is_folded():
    module, variables = small("densenet_small")
    paths = set(fold_classifier("densenet_small", module, variables).layers)
    assert {"DenseLayer_0/BatchNorm_0", "DenseLayer_0/Conv_0", "Dense_0"} <= paths
    assert not {"BatchNorm_0", "DenseLayer_0/BatchNorm_1"} & paths


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (33, 32)])
def test_images_of_any_size_are_seen(size):
    run = jax.jit(lambda classifier, x: classifier(x))
    result = run(fold_classifier("tiny", TINY, variables_of(TINY)), pictures(*size))
    expected = run(FrozenClassifier(TINY, variables_of(TINY)), pictures(*size))
    np.testing.assert_allclose(result, expected, atol=0.1 * np.std(expected))


def test_overlapping_pooling_is_that_of_the_trained_networks():
    x = jnp.asarray(np.random.RandomState(0).randint(-9, 9, (2, 7, 6, 3)), jnp.float32)
    result = fixed_classifier._largest_of_three(fixed_classifier._largest_of_three(x, 1), 2)
    np.testing.assert_array_equal(result, MaxPool().apply({}, x))


def test_weights_that_are_not_finite_are_refused():
    variables = variables_of(TINY)
    variables["batch_stats"]["BatchNorm_0"]["var"] -= 9
    with pytest.raises(UserError, match=r"weights of tiny/Conv_0.*not finite"):
        fold_classifier("tiny", TINY, variables)


class Strange(nn.Module):
    layer: nn.Module

    @nn.compact
    def __call__(self, images, train):
        return jnp.mean(self.layer(Standardise()(images)), axis=(1, 2))


class Raw(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        return nn.Dense(2)(jnp.mean(images, axis=(1, 2)))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (VGG(2, stages=((4,),), hidden=(4,), grid=7), "MeanPool_0 averages over a 7 x 7 grid"),
        (Strange(nn.Conv(2, (3, 3), strides=(1, 2))), "layer is no plain convolution"),
        (Strange(nn.Conv(2, (3, 3), kernel_dilation=2)), "layer is no plain convolution"),
        (Strange(nn.Conv(6, (3, 3), feature_group_count=3)), "layer is no plain convolution"),
        (Strange(nn.Conv(3, (3, 3), feature_group_count=3)), "doesn't begin with a convolution"),
        (Strange(nn.BatchNorm(True)), "doesn't begin with a convolution"),
        (Strange(nn.LayerNorm()), "layer has weights of another kind"),
        (Raw(), "doesn't standardise"),
        (
            VGG(2, stages=((4,),), hidden=(), grid=1, preprocessing=Preprocessing(mean=(0.0,) * 3)),
            "pixels reach more than 154 from its mean",
        ),
    ],
)
def test_classifiers_that_cannot_be_converted_are_refused(module, message):
    match = f"classifier 'odd' can't.*{message}.*config.classifiers.targets.*'float'"
    with pytest.raises(UserError, match=match):
        fold_classifier("odd", module, variables_of(module))
    with pytest.raises(UserError, match=match):
        check_foldable("odd", module)


def test_whether_a_classifier_can_be_converted_is_known_before_it_has_weights():
    check_foldable("tiny", TINY)
    with pytest.raises(UserError, match="'vgg16' can't compute in fixed point"):
        check_foldable("vgg16", build_classifier("vgg16", 2))


_QUICK = {"efficientnet_lite0", "resnet18", "vgg16"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in _QUICK else pytest.mark.slow) for n in PUBLISHED]
)
def test_every_published_network_can_be_converted(name):
    check_foldable(name, build_classifier(name, 1000, PUBLISHED[name]))


@pytest.mark.parametrize(
    "module",
    [
        VGG(CLASSES, ((4,), (8,)), hidden=(16,), norm=False, preprocessing=Preprocessing(40, 40)),
        ResNet(CLASSES, (1,), BottleneckBlock, width=8, preprocessing=Preprocessing(40, 40)),
        DenseNet(CLASSES, (2, 2), growth=4, width=8, preprocessing=Preprocessing(40, 40)),
    ],
    ids=lambda module: type(module).__name__,
)
def test_small_networks_of_the_published_families_read_alike(module):
    variables, x = variables_of(module), pictures(20, 23)
    run = jax.jit(lambda classifier, x: classifier(x))
    expected = run(FrozenClassifier(module, variables), x)
    fixed = fold_classifier("published", module, variables)
    assert fixed.widths == WIDE
    np.testing.assert_allclose(run(fixed, x), expected, atol=0.05 * np.std(expected))


def test_networks_of_a_run_keep_their_bits():
    fixed = fold_classifier("tiny", TINY, variables_of(TINY))
    assert fixed.widths == OWN
    assert {(layer.bits, layer.forward) for layer in fixed.layers.values()} == {(7, Split())}
