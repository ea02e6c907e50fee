"""Files of published weights: what they bring back, and how damaged or foreign ones are told."""

import dataclasses
import functools
import json

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from raeg_jax.errors import UserError
from raeg_jax.networks.architectures import VGG
from raeg_jax.networks.classifiers import CLASSIFIERS
from raeg_jax.networks.int8 import round_kernels
from raeg_jax.networks.preprocessing import PUBLISHED, Preprocessing
from raeg_jax.networks.weights import (
    PublishedNetwork,
    array_shapes,
    describe_weights,
    is_published,
    load_weights,
    save_weights,
)

PREPROCESSING = Preprocessing(36, 32, "bicubic", (127.0, 1.5, 0.1), (128.0,) * 3)
NETWORK = PublishedNetwork("little", 7, PREPROCESSING, "vgg.pth (5c1)")


@pytest.fixture(autouse=True)
def little(monkeypatch):
    """An architecture whose shapes take no time to find."""
    build = functools.partial(VGG, stages=((4,),), hidden=(), grid=1)
    monkeypatch.setitem(CLASSIFIERS, "little", build)
    monkeypatch.setitem(PUBLISHED, "little", PREPROCESSING)


@functools.cache
def arrays():
    rng = np.random.default_rng(0)
    shapes = array_shapes(VGG(7, ((4,),), (), 1))
    return {name: np.float32(rng.normal(size=shape)) for name, shape in shapes.items()}


@pytest.fixture
def path(tmp_path):
    save_weights(tmp_path / "one.safetensors", NETWORK, arrays())
    return tmp_path / "one.safetensors"


def test_a_file_brings_back_what_it_was_made_of(path):
    network, variables = load_weights(path)
    assert network == describe_weights(path) == NETWORK
    assert set(variables) == {"params", "batch_stats"}
    for name, value in arrays().items():
        collection, layer, kind = name.split("/")
        np.testing.assert_array_equal(variables[collection][layer][kind], value)


def test_rounded_kernels_are_written_as_int8_and_impossible_ones_are_told(path):
    rounded, other = round_kernels(arrays()), path.with_name("rounded.safetensors")
    save_weights(other, NETWORK, rounded)
    with safetensors.safe_open(other, "numpy") as file:
        assert file.get_tensor("params/Dense_0/kernel").dtype == np.int8
    _, variables = load_weights(other)
    for name, value in rounded.items():
        collection, layer, kind = name.split("/")
        np.testing.assert_array_equal(variables[collection][layer][kind], value)
    path.unlink()
    save_weights(path, NETWORK, arrays() | {"params/Dense_0/exponents": np.zeros(7, np.int8)})
    with pytest.raises(UserError, match=r"one\.saf.* can't be used: params/Dense_0 isn't a layer"):
        load_weights(path)


def test_the_network_has_the_preprocessing_and_the_classes_of_the_file():
    module = NETWORK.module
    assert (module.preprocessing, module.num_classes) == (PREPROCESSING, 7)
    assert array_shapes(NETWORK.module) == {name: value.shape for name, value in arrays().items()}


def test_a_file_that_is_there_is_never_replaced(path):
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"one\.safetensors exists: choose another name"):
        save_weights(path, NETWORK, arrays())
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"can't write .*none.* No such file"):
        save_weights(tmp_path / "none" / "one.safetensors", NETWORK, arrays())


@pytest.mark.parametrize("read", [describe_weights, load_weights])
def test_a_missing_file_is_told_with_the_command_that_makes_it(read, tmp_path):
    with pytest.raises(UserError, match=r"no file of weights .*: `raeg weights import NAME FILE"):
        read(tmp_path / "one.safetensors")


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def empty(path):
    path.write_bytes(b"")


def picture(path):
    path.write_bytes(b"\x89PNG\r\n\x1a\n" * 30)


def foreign(path):
    path.write_bytes(safetensors.numpy.save(arrays()))


def described(**changes):
    """Writes a description with other values; None leaves one out."""

    def change(path):
        values = {"format": 1, **NETWORK.to_json(), **changes}
        text = json.dumps({name: value for name, value in values.items() if value is not None})
        path.write_bytes(safetensors.numpy.save(arrays(), {"raeg_weights": text}))

    return change


@pytest.mark.parametrize("read", [describe_weights, load_weights])
@pytest.mark.parametrize(
    "damage",
    [
        *(cut, empty, picture, foreign),
        described(format=2),
        described(architecture=None),
        described(preprocessing=None),
        described(preprocessing=[]),
        described(preprocessing={"resize": 3}),
        described(padding=3),
        described(num_classes="seven"),
    ],
)
def test_damaged_and_foreign_files_are_told(read, damage, path):
    damage(path)
    with pytest.raises(UserError, match=r"one\.safetensors is no file of weights of ours: make"):
        read(path)


@pytest.mark.parametrize("read", [describe_weights, load_weights])
@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"architecture": "alexnet"}, "no published network is called 'alexnet'; known are resnet"),
        ({"num_classes": 1}, "at least two classes, not 1"),
        ({"preprocessing": PREPROCESSING.to_json() | {"crop": 99}}, "crop=99, resize=36 is imp"),
    ],
)
def test_impossible_descriptions_are_told_with_the_file(read, changes, complaint, path):
    described(**changes)(path)
    with pytest.raises(UserError, match=rf"one\.safetensors can't be used: .*{complaint}"):
        read(path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"params/Dense_0/bias": None}, r"Dense_0/bias is missing, .* has float32 \[7\]"),
        ({"params/Dense_0/bias": np.float32([1])}, r"bias is float32 \[1\], .* has float32 \[7\]"),
        (
            {"params/Dense_0/bias": np.zeros(7)},
            r"Dense_0/bias is float64 \[7\], where the network has",
        ),
        ({"params/more": np.float32([3])}, "params/more is .*, where the network has nothing"),
    ],
)
def test_other_arrays_than_the_architecture_has_are_told(changes, complaint, path):
    changed = {name: x for name, x in (arrays() | changes).items() if x is not None}
    path.unlink()
    save_weights(path, NETWORK, changed)
    assert describe_weights(path) == NETWORK
    with pytest.raises(UserError, match=f"isn't a whole little: .*{complaint}.*; import it again"):
        load_weights(path)


@pytest.mark.parametrize(
    ("name", "published"),
    [("lite0.safetensors", True), ("resnet18", False), ("a.onnx", False)],
)
def test_a_file_name_is_no_architecture(name, published):
    assert is_published(name) == published


def test_descriptions_are_json():
    network = dataclasses.replace(NETWORK, source="\N{SNOWMAN}.pth (5c1)")
    text = json.dumps(network.to_json())
    assert PublishedNetwork.from_json(json.loads(text)) == network


def test_a_network_with_a_head_is_no_file_of_weights(tmp_path):
    save_weights(tmp_path / "net.safetensors", NETWORK.with_head(3, 64), {})
    with pytest.raises(UserError, match=r"net\.safetensors is no file of weights of ours"):
        describe_weights(tmp_path / "net.safetensors")
