"""EfficientNet-Lite: widths, depths, TensorFlow's padding, and where inputs are added."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.networks.classifiers import CLASSIFIERS
from raeg_jax.networks.efficientnet import EfficientNetLite, InvertedBottleneck, scale_features


@pytest.mark.parametrize(
    ("features", "factor", "scaled"),
    [
        (16, 1.0, 16),
        (24, 1.1, 24),  # 26.4
        (40, 1.1, 48),  # 44, as near to 40
        (320, 1.1, 352),
        (16, 1.2, 24),  # 19.2 is nearer to 16, which is too little
        (112, 1.4, 160),  # 156.8
        (16, 0.1, 8),
    ],
)
def test_widths_are_multiples_of_eight(features, factor, scaled):
    assert scale_features(features, factor) == scaled


@pytest.mark.parametrize(
    ("name", "depths"),
    [
        ("efficientnet_lite0", [1, 2, 2, 3, 3, 4, 1]),
        ("efficientnet_lite1", [1, 3, 3, 4, 4, 5, 1]),
        ("efficientnet_lite4", [1, 4, 4, 6, 6, 8, 1]),
    ],
)
def test_the_first_and_the_last_stage_keep_their_depths(name, depths):
    assert CLASSIFIERS[name](10).depths() == depths


@pytest.mark.parametrize("shape", [(1, 8, 8, 8), (2, 7, 10, 8), (1, 1, 1, 8)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_shapes_of_a_block(shape, stride, kernel):
    block = InvertedBottleneck(16, kernel, 6, stride)
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    y, variables = jax.eval_shape(
        lambda x: block.init_with_output(jax.random.key(0), x, train=False), x
    )
    assert y.shape == (shape[0], -(-shape[1] // stride), -(-shape[2] // stride), 16)
    kernels = {k: v["kernel"].shape for k, v in variables["params"].items() if "kernel" in v}
    assert kernels == {
        "expand": (1, 1, 8, 48),
        "depthwise": (kernel, kernel, 1, 48),
        "project": (1, 1, 48, 16),
    }


@pytest.mark.parametrize(
    ("features", "stride", "added"), [(8, 1, True), (8, 2, False), (16, 1, False)]
)
def test_the_input_is_added_where_shapes_allow_it(features, stride, added):
    block = InvertedBottleneck(features, 3, 1, stride)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 6, 6, 8)), jnp.float32)
    y = jax.jit(lambda v, x: block.apply(v, x, train=False))(zeros_of(block, x), x)
    np.testing.assert_array_equal(y, x if added else jnp.zeros_like(y))


def zeros_of(module, x):
    """Variables without effect, which take no time to make."""
    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), x)
    return jax.tree.map(lambda each: np.zeros(each.shape, np.float32), variables)


def test_an_even_map_gets_its_odd_row_of_zeros_at_the_end():
    """As TensorFlow pads; PyTorch's symmetric padding would put windows one row further up."""
    module = EfficientNetLite(2, stages=((3, 1, 8, 1, 1), (3, 1, 8, 1, 1)), stem=1, head=8)
    images = np.zeros((1, 32, 32, 3), np.float32)
    variables = zeros_of(module, images)
    # Only the corner of each window counts.
    variables["params"]["stem"]["kernel"][0, 0] = 1

    @jax.jit
    def stem(images):
        _, state = module.apply(
            variables, images, train=False, capture_intermediates=lambda m, _: m.name == "stem"
        )
        return state["intermediates"]["stem"]["__call__"][0]

    def changed(row, column):
        brighter = images.copy()
        brighter[:, row, column] = 255
        return np.argwhere(stem(brighter) != stem(images))[:, 1:3].tolist()

    assert stem(images).shape == (1, 16, 16, 1)
    assert changed(4, 6) == [[2, 3]]
    assert changed(5, 6) == changed(4, 7) == []
