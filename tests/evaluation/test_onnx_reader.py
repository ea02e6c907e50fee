"""ONNX models of all layouts that are understood, and what is said of others."""

import dataclasses
import sys

import numpy as np
import pytest
from onnx import TensorProto

from raeg_jax.errors import UserError
from raeg_jax.evaluation.onnx_reader import load_onnx
from raeg_jax.networks.preprocessing import Preprocessing
from tests.evaluation.onnx_files import FIRST, LAST, WEIGHTS, write

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
UNIT = "mean=0:0:0,std=1:1:1"


@pytest.mark.parametrize("shape", [FIRST, LAST, (2, 3, 8, 8), ("N", 3, "H", "W")])
def test_both_layouts_give_the_same_logits(tmp_path, shape):
    model = load_onnx(write(tmp_path / "a.onnx", shape), UNIT + ",resize=8,crop=8")
    logits = model.run(IMAGES)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, IMAGES.mean((1, 2)) @ WEIGHTS, rtol=1e-5)
    assert model.num_classes == 4
    assert model.batch_size == (2 if shape[0] == 2 else None)


def test_values_are_scaled_as_preprocessing_says(tmp_path):
    model = load_onnx(write(tmp_path / "a.onnx"), "mean=1:2:3,std=2:4:8")
    scaled = (IMAGES.mean((1, 2)) - (1, 2, 3)) / (2, 4, 8)
    np.testing.assert_allclose(model.run(IMAGES), scaled @ WEIGHTS, rtol=1e-5)


def test_a_model_that_takes_bytes_scales_them_itself(tmp_path):
    model = load_onnx(write(tmp_path / "a.onnx", kind=TensorProto.UINT8), "mean=1:2:3")
    np.testing.assert_allclose(model.run(IMAGES), IMAGES.mean((1, 2)) @ WEIGHTS, rtol=1e-5)
    assert model.preprocessing.mean == (0, 0, 0)


def test_the_size_of_the_file_gives_the_crop(tmp_path):
    model = load_onnx(write(tmp_path / "a.onnx", ("N", 28, 28, 3)))
    assert model.preprocessing == dataclasses.replace(Preprocessing(), resize=32, crop=28)
    assert load_onnx(write(tmp_path / "b.onnx", ("N", 3, "H", "W"))).preprocessing.crop == 224


@pytest.mark.parametrize(
    ("changes", "preprocess", "message"),
    [
        ({"inputs": 2}, "", "has 2 inputs and 1 outputs"),
        ({"outputs": 2}, "", "has 1 inputs and 2 outputs"),
        ({"shape": ("N", 3)}, "", r"takes \[N, 3\], and a reader's input is \[N, 3, H, W\]"),
        ({"shape": ("N", 1, 8, 8)}, "", r"takes \[N, 1, 8, 8\]"),
        ({"shape": ("N", 3, 8, 9)}, "", "images of 8 x 9 pixels, and a reader's are squares"),
        ({"kind": TensorProto.DOUBLE}, "", r"takes tensor\(double\)"),
        ({"pooled": False}, "", r"gives \[2, 8, 8, 4\] for 2 images"),
        ({}, "resize=9,crop=9", "has crop=9, and .* takes images of 8 x 8 pixels: write crop=8"),
    ],
    ids=["inputs", "outputs", "rank", "channels", "oblong", "type", "map", "size"],
)
def test_other_models_are_named(tmp_path, changes, preprocess, message):
    path = write(tmp_path / "net.onnx", **changes)
    with pytest.raises(UserError, match=message) as error:
        load_onnx(path, preprocess)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no model", "half"])
def test_damaged_files_are_named(tmp_path, content):
    path = write(tmp_path / "net.onnx")
    path.write_bytes(path.read_bytes()[:150] if content == "half" else content)
    with pytest.raises(UserError, match=r"net\.onnx can't be used, it is no ONNX model or a dam"):
        load_onnx(path)


def test_a_missing_extra_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install 'raeg-jax\[onnx\]'"):
        load_onnx(write(tmp_path / "net.onnx"))
