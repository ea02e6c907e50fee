"""The benchmark of exactness counts what comes back otherwise, and nothing else."""

import importlib.util
import json
import pathlib
import types

import flax.struct
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from configs import base
from raeg_jax import assembly, data
from raeg_jax.errors import UserError
from raeg_jax.evaluation import images as evaluation_images
from raeg_jax.training import classifier

PATH = pathlib.Path(__file__).parents[2] / "benchmarks" / "exactness.py"
IMAGES = np.random.RandomState(0).randint(0, 256, (5, 4, 4, 3)).astype(np.uint8)


@flax.struct.dataclass
class WrongAlone:
    """Adds the label; on the way back an image without company loses its first pixel."""

    offset: float

    def forward(self, x, labels):
        return x + self.offset + labels[:, None, None, None], (labels,)

    def inverse(self, y, code):
        x = y - self.offset - code[0][:, None, None, None]
        return x.at[:, 0, 0, 1].add(1.0) if len(y) == 1 else x


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location(PATH.stem, PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    flags.FLAGS.mark_as_parsed()
    return module


def run(benchmark, workdir, **given):
    config = base.get_config()
    config.generator.stages = ("gradient",)
    with flagsaver.flagsaver(**given):
        benchmark.main(config, workdir)


def test_what_differs_is_counted_by_program(benchmark, monkeypatch, tmp_path):
    monkeypatch.setattr(data, "load", lambda settings: types.SimpleNamespace(test="test"))
    monkeypatch.setattr(classifier, "load_classifiers", lambda *_: {})
    monkeypatch.setattr(assembly, "assemble", lambda *_: WrongAlone(jnp.float32(2)))
    labels = np.arange(5, dtype=np.int32)
    monkeypatch.setattr(evaluation_images, "open_split", lambda *_: (IMAGES, labels, []))
    run(benchmark, tmp_path, batches=["3", "2", "1"], eager=2, split="test")
    ways = json.loads((tmp_path / "exactness.json").read_text())["ways"]
    assert {name: list(way.values()) for name, way in ways.items()} == {
        "batch 3": [5, 0, 0, 80],
        "batch 2": [5, 0, 0, 80],
        "batch 1": [5, 5, 5, 80],
        "without jit": [2, 0, 0, 32],
    }


@pytest.mark.parametrize(
    ("given", "message"), [({"batches": ["8", "0"]}, "--batches=8,0"), ({"eager": -1}, "eager=-1")]
)
def test_flags_that_cannot_be_meant_are_named(benchmark, tmp_path, given, message):
    with pytest.raises(UserError, match=message):
        run(benchmark, tmp_path, **given)
