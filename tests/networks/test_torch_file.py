"""Importing weights from files that need no PyTorch; `test_parity` has PyTorch's own."""

import dataclasses
import functools
import hashlib
import sys

import numpy as np
import pytest
import safetensors.numpy
from flax.traverse_util import flatten_dict

from raeg_jax import cli
from raeg_jax.errors import UserError
from raeg_jax.networks.classifiers import CLASSIFIERS
from raeg_jax.networks.preprocessing import PUBLISHED, Preprocessing
from raeg_jax.networks.torch_file import import_weights, read_state
from raeg_jax.networks.torch_weights import convert
from raeg_jax.networks.weights import describe_weights, load_weights
from tests.networks.golden_networks import NETWORKS, golden_state

PREPROCESSING = Preprocessing(72, 64, "bicubic")


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A state dict of an architecture 'little'."""
    network = NETWORKS["vgg_bn"]
    fields = {name: getattr(network, name) for name in ("stages", "hidden", "norm")}
    monkeypatch.setitem(CLASSIFIERS, "little", functools.partial(type(network), **fields))
    monkeypatch.setitem(PUBLISHED, "little", PREPROCESSING)
    path = tmp_path / "little.safetensors"
    path.write_bytes(safetensors.numpy.save(golden_state("vgg_bn")))
    return path


def test_a_file_of_published_weights_is_made(file, tmp_path):
    out = tmp_path / "out.safetensors"
    network = import_weights("little", file, out)
    assert (network.architecture, network.num_classes) == ("little", 5)
    assert network.preprocessing == PREPROCESSING
    assert network.source == f"{file.name} ({hashlib.sha256(file.read_bytes()).hexdigest()})"
    loaded, variables = load_weights(out)
    assert loaded == network
    expected = convert(golden_state("vgg_bn"), network.module, "little", "")
    for name, value in expected.items():
        collection, layer, kind = name.split("/")
        np.testing.assert_array_equal(variables[collection][layer][kind], value)


def test_preprocessing_is_the_published_one_but_for_what_is_given(file, tmp_path):
    network = import_weights("little", file, tmp_path / "out.safetensors", "crop=50,std=1:2:3")
    assert network.preprocessing == Preprocessing(72, 50, "bicubic", std=(1.0, 2.0, 3.0))


def test_halves_are_read(file):
    state = {
        name: value.astype(np.float16)
        for name, value in golden_state("vgg_bn").items()
        if value.dtype == np.float32
    }
    file.write_bytes(safetensors.numpy.save(state))
    for name, value in read_state(file).items():
        np.testing.assert_array_equal(value, state[name])


def test_the_command_says_what_it_wrote(file, tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    arguments = ["weights", "import", "little", str(file), str(out)]
    assert cli.main([*arguments, "--preprocess", "mean=1:2:3"]) == 0
    assert capsys.readouterr().out == (
        f"little of 5 classes is in {out}; it takes photographs with resize=72,crop=64,"
        "interpolation=bicubic,mean=1:2:3,std=58.395:57.12:57.375\n"
    )
    assert describe_weights(out).preprocessing.mean == (1.0, 2.0, 3.0)
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == f"error: {out} exists: choose another name\n"


def test_kernels_are_rounded_if_asked(file, tmp_path):
    whole, small = tmp_path / "whole.safetensors", tmp_path / "small.safetensors"
    arguments = ["weights", "import", "little", str(file)]
    assert cli.main([*arguments, str(whole)]) == cli.main([*arguments, str(small), "--int8"]) == 0
    assert small.stat().st_size < whole.stat().st_size
    (network, exact), (other, rounded) = load_weights(whole), load_weights(small)
    assert other == dataclasses.replace(network, source=f"{network.source}, rounded to int8")
    differ = 0
    for name, array in flatten_dict(exact, sep="/").items():
        found = flatten_dict(rounded, sep="/")[name]
        differ += not np.array_equal(found, array)
        np.testing.assert_allclose(found, array, atol=np.abs(array).max() / 127)
    assert 0 < differ <= sum(name.endswith("kernel") for name in flatten_dict(exact, sep="/"))


@pytest.mark.parametrize(
    ("architecture", "name", "out", "preprocess", "complaint"),
    [
        ("alexnet", "little.safetensors", "o.safetensors", "", "'alexnet'; known are resnet18, re"),
        ("little", "little.safetensors", "o.safetensors", "crop=0", "crop=0, resize=72 is impossi"),
        ("little", "little.safetensors", "o.raeg", "", "o.raeg must be called NAME.safetensors"),
        ("little", "little.safetensors", "none/o.safetensors", "", "can't write .*No such file"),
        ("little", "none.pth", "o.safetensors", "", "there is no file .*none.pth"),
        ("little", ".", "o.safetensors", "", "is a folder"),
        ("little", "notes.txt", "o.safetensors", "", r"weights are in files \.safetensors, \.pth,"),
        ("little", "notes.safetensors", "o.safetensors", "", "no safetensors file, or a damaged"),
        (
            "vgg16",
            "little.safetensors",
            "o.safetensors",
            "",
            "little.safetensors is no vgg16",
        ),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    architecture, name, out, preprocess, complaint, file, tmp_path
):
    for suffix in ("txt", "safetensors"):
        (tmp_path / f"notes.{suffix}").write_text("Remember the milk.")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=complaint):
        import_weights(architecture, tmp_path / name, tmp_path / out, preprocess)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_without_pytorch_one_sentence_says_what_to_install(suffix, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    path = (tmp_path / "resnet18").with_suffix(suffix)
    path.write_bytes(b"PK")
    with pytest.raises(
        UserError, match=rf"resnet18\{suffix} .* PyTorch: pip install 'raeg-jax\[torch\]', or"
    ):
        read_state(path)
