"""The benchmark of exactness counts what comes back otherwise, and nothing else."""

import json
import types

import flax.struct
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import flagsaver

from configs import base
from raeg_jax import data
from raeg_jax.data import memory as evaluation_images
from raeg_jax.errors import UserError
from raeg_jax.generator import build
from raeg_jax.workdir import classifiers
from raeg_jax.workdir import run as workdir_lib
from tests.benchmarks.loading import load_benchmark

IMAGES = np.random.RandomState(0).randint(0, 256, (5, 4, 4, 3)).astype(np.uint8)


@flax.struct.dataclass
class WrongAlone:
    """Adds the label; on the way back an image without company loses its first pixel."""

    offset: float
    token_planes = 0

    def forward(self, x, labels, token):
        return x + self.offset + labels[:, None, None, None], (labels,)

    def inverse(self, y, code, token):
        x = y - self.offset - code[0][:, None, None, None]
        return x.at[:, 0, 0, 1].add(1.0) if len(y) == 1 else x


@pytest.fixture(scope="module")
def benchmark():
    yield from load_benchmark("exactness")


def run(benchmark, workdir, stages=("gradient",), coupling="integer", **given):
    config = base.get_config()
    config.generator.stages, config.generator.coupling = stages, coupling
    with flagsaver.flagsaver(**given):
        benchmark.main(config, workdir)


def test_what_differs_is_counted_by_program(benchmark, monkeypatch, tmp_path):
    monkeypatch.setattr(data, "load", lambda settings: types.SimpleNamespace(test="test"))
    monkeypatch.setattr(classifiers, "load_classifiers", lambda *_: {})
    monkeypatch.setattr(build, "build_generator", lambda *_: WrongAlone(jnp.float32(2)))
    labels = np.arange(5, dtype=np.int32)
    monkeypatch.setattr(evaluation_images, "open_split", lambda *_: (IMAGES, labels, []))
    (tmp_path / "classifiers").mkdir()
    run(benchmark, tmp_path, batches=["3", "2", "1"], eager=2, split="test")
    results = json.loads((tmp_path / "exactness.json").read_text())
    assert (results["split"], results["stages"]) == ("test", ["gradient"])
    assert results["settings"]["generator"] == results["generator"]
    assert "jax" in results["versions"]
    ways = results["ways"]
    assert {name: list(way.values()) for name, way in ways.items()} == {
        "batch 3": [5, 0, 0, 80],
        "batch 2": [5, 0, 0, 80],
        "batch 1": [5, 5, 5, 80],
        "without jit": [2, 0, 0, 32],
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ("learned",), "coupling": "affine"}, "coupling='affine' gives fractions"),
        ({"stages": ("learned", "gradient")}, "target_psnr=.* must be above"),
        ({"out": __file__}, "--out=.*test_exactness.py"),
    ],
)
def test_what_cannot_be_measured_stops_before_anything_is_loaded(
    benchmark, monkeypatch, tmp_path, changes, message
):
    (tmp_path / "classifiers").mkdir()

    def restore(config, workdir):
        config.loss.target_psnr = config.generator.gradient.target_psnr
        return config, None, 1

    monkeypatch.setattr(data, "load", lambda settings: pytest.fail("loaded"))
    monkeypatch.setattr(workdir_lib, "restore", restore)
    with pytest.raises(UserError, match=message):
        run(benchmark, tmp_path, **changes)
