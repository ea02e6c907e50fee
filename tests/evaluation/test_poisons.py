"""The benchmark of poisons, from flags to files. No model is trained: what it gets is looked at."""

import json
import types

import numpy as np
import pytest
from absl.testing import flagsaver

from configs import caltech101
from raeg_jax import data
from raeg_jax.adversarial.distortions import DEFENCES
from raeg_jax.errors import UserError
from raeg_jax.experiments import pirates, subject
from raeg_jax.generator.build import build_generator
from raeg_jax.workdir import classifiers
from tests.evaluation.evaluation_toys import flat_images, load_benchmark

LABELS = np.array([0, 1, 1, 2, 1], np.int32)
IMAGES = flat_images([70, 110, 120, 170, 130], size=32)


@pytest.fixture(scope="module")
def benchmark():
    yield from load_benchmark("poisons")


@pytest.fixture
def trained(monkeypatch):
    """What models would have been trained on."""
    given = {}

    def train(subject, loot, architecture, seed):
        given[loot.name] = [*given.get(loot.name, ()), loot.images()]
        result = {"images": loot.name, "architecture": architecture, "seed": seed}
        assert subject.config.suite.pirates.seeds == 1
        return result | {"peak": 0.5, "last": 0.25}

    splits = types.SimpleNamespace(
        train="train", test="test", num_classes=3, name="flat", fingerprint="0123"
    )
    monkeypatch.setattr(data, "load", lambda settings: splits)
    monkeypatch.setattr(classifiers, "load_classifiers", lambda *_: {})
    monkeypatch.setattr(subject, "open_split", lambda *_: (IMAGES, LABELS, []))
    monkeypatch.setattr(pirates, "train", train)
    return given


def run(benchmark, tmp_path, **given):
    (tmp_path / "classifiers").mkdir(exist_ok=True)
    config = caltech101.get_config("poison")
    config.generator.gradient.target_psnr = 30.0
    config.suite.pirates.seeds = 1
    with flagsaver.flagsaver(**given):
        benchmark.main(config, tmp_path)


def test_models_get_what_their_row_and_defence_say(benchmark, tmp_path, trained):
    run(benchmark, tmp_path, rows=["honest", "waves"], defences=["bits_3"])
    plain, reduced = trained["honest"]
    np.testing.assert_array_equal(plain, IMAGES)
    np.testing.assert_array_equal(reduced, DEFENCES["bits_3"](IMAGES))
    waves, reduced = trained["waves"]
    error = np.mean((waves.astype(float) - IMAGES) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(10 * np.log10(255**2 / error), 30.0, atol=0.3)
    np.testing.assert_array_equal(reduced, DEFENCES["bits_3"](waves))
    models = json.loads((tmp_path / "poisons.json").read_text())["models"]
    assert [(model["images"], model["defence"]) for model in models] == [
        ("honest", "none"), ("honest", "bits_3"), ("waves", "none"), ("waves", "bits_3"),
    ]  # fmt: skip
    last = (tmp_path / "poisons.md").read_text().splitlines()[-1]
    numbers = "0.500 (0.500 to 0.500) | 0.250 (0.250 to 0.250)"
    assert last == f"| waves | 130 | bits_3 | densenet_small | 1 | {numbers} |"
    # Nothing is trained again.
    trained.clear()
    run(benchmark, tmp_path, rows=["waves"], defences=["bits_3"])
    assert not trained


def test_every_row_is_a_generator(benchmark):
    config = caltech101.get_config("poison")
    for row, (stages, _) in benchmark.ROWS.items():
        changed = benchmark.changed(config, row)
        if stages == ("shortcut",):
            (stage,) = build_generator(changed, None, {}).stages
            assert stage.max_mse == pytest.approx(255**2 * 10**-3.2)
        elif stages:
            assert tuple(changed.generator.stages) == stages


def test_an_unknown_row_or_defence_is_named(benchmark, tmp_path, trained):
    with pytest.raises(UserError, match="--rows=fog: each must be of honest, gradient"):
        run(benchmark, tmp_path, rows=["fog"])
    with pytest.raises(UserError, match="--defences=none,fog"):
        run(benchmark, tmp_path, defences=["fog"])
