"""Our convolution against JAX's, and that no loop holds one that XLA is slow at."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from raeg_jax.adversarial.pgd import pgd_l2
from raeg_jax.networks.classifiers import build_classifier
from raeg_jax.networks.convolution import conv_general_dilated


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": (3, 3), "padding": 1},
        {"kernel_size": (3, 3), "strides": 2, "padding": 1},
        {"kernel_size": (1, 1), "strides": 2, "padding": "VALID"},
        {"kernel_size": (4, 2), "strides": (1, 3)},
        {"kernel_size": (3, 3), "kernel_dilation": 2},
        {"kernel_size": (3, 3), "feature_group_count": 2},
        {"features": 4, "kernel_size": (5, 5), "feature_group_count": 4, "strides": 2},
        {"features": 4, "kernel_size": (3, 3), "feature_group_count": 4, "padding": 1},
        {"features": 4, "kernel_size": (3, 3), "feature_group_count": 4, "strides": (1, 2)},
        {"features": 4, "kernel_size": (3, 3), "feature_group_count": 4, "kernel_dilation": 2},
    ],
    ids=str,
)
def test_values_and_gradients_are_those_of_jax(settings):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 8, 4)), jnp.float32)
    settings = {"features": 6} | settings
    ours = nn.Conv(conv_general_dilated=conv_general_dilated, **settings)
    theirs = nn.Conv(**settings)
    variables = theirs.init(jax.random.key(0), x)

    def loss(layer):
        return lambda v, x: jnp.sum(jnp.sin(layer.apply(v, x)))

    result, expected = (
        jax.jit(jax.value_and_grad(loss(layer), (0, 1)))(variables, x) for layer in (ours, theirs)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), result, expected
    )


@pytest.mark.parametrize("name", ["resnet_small", "vgg_small", "densenet_small"])
def test_convolutions_in_the_loop_of_an_attack_are_in_the_order_that_is_fast(name):
    module, images = build_classifier(name, 4), jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), images)
    attack = jax.jit(
        lambda v, x: pgd_l2([lambda x: module.apply(v, x, train=False)], x, np.arange(2), 9.0, 2)
    )
    program = attack.lower(variables, images).as_text()
    orders = re.findall(r"stablehlo\.convolution.*?dim_numbers = (.*?), window", program)
    assert len(orders) > 1
    assert set(orders) == {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}
