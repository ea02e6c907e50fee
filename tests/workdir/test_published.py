"""Files of published weights are found, read, and known again."""

import re

import jax
import numpy as np
import pytest

from configs import base
from raeg_jax.errors import UserError
from raeg_jax.networks.preprocessing import Preprocessing
from raeg_jax.networks.weights import load_weights
from raeg_jax.workdir import published
from tests.networks import tiny_published

NAME = "net.safetensors"


@pytest.fixture
def config(tmp_path, monkeypatch):
    tiny_published.register(monkeypatch)
    tiny_published.write(tmp_path / NAME)
    config = base.get_config()
    config.classifiers.update(targets=(NAME,), held_out=(), weights=str(tmp_path))
    return config


def test_a_file_is_read_from_its_folder(config, tmp_path, monkeypatch):
    network, variables = load_weights(tmp_path / NAME)
    module, loaded = published.load(config, NAME)
    assert module == network.module == published.describe(config, NAME).module
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)
    # By default that is where the command runs.
    monkeypatch.chdir(tmp_path)
    config.classifiers.weights = ""
    assert published.describe(config, NAME) == network


def test_a_missing_file_is_named_with_the_ways_out(config, tmp_path):
    message = rf"there is no {tmp_path}/other\.safetensors, .*raeg weights import.*weights=FOLDER"
    with pytest.raises(UserError, match=message):
        published.load(config, "other.safetensors")


def test_a_file_is_the_same_wherever_it_lies(config, tmp_path):
    known = published.identity(config, NAME)
    assert known["architecture"] == "tiny"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / NAME).rename(tmp_path / "elsewhere" / NAME)
    config.classifiers.weights = str(tmp_path / "elsewhere")
    published.check_identity(config, NAME, known)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"seed": 1}, r"its source was tiny-0\.pth .*, is tiny-1\.pth"),
        ({"architecture": "tiny_deep"}, "its source was tiny-0.* is tiny_deep-0"),
        ({"preprocessing": Preprocessing(40, 32)}, "its preprocessing was .*'resize': 36.*: 40"),
        ({"num_classes": 20}, "its num_classes was 1000, is 20"),
        ({}, "its sha256 was [0-9a-f]{64}, is [0-9a-f]{64}"),
    ],
)
def test_another_file_of_the_name_is_noticed(config, tmp_path, other, named):
    known = published.identity(config, NAME)
    (tmp_path / NAME).unlink()
    tiny_published.write(tmp_path / NAME, **other)
    if not other:
        content = (tmp_path / NAME).read_bytes()
        (tmp_path / NAME).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(
        UserError, match=re.escape(f"{tmp_path}/{NAME} isn't the file that") + f".*{named}"
    ):
        published.check_identity(config, NAME, known)
