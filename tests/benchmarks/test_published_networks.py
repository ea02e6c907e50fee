import functools

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from PIL import Image

from raeg_jax.networks.architectures import VGG
from raeg_jax.networks.classifiers import CLASSIFIERS
from raeg_jax.networks.preprocessing import PUBLISHED, Preprocessing
from raeg_jax.networks.weights import PublishedNetwork, save_weights
from tests.benchmarks.loading import load_benchmark


@pytest.fixture
def benchmark():
    yield from load_benchmark("published_networks")


@pytest.fixture
def photographs(tmp_path):
    random = np.random.default_rng(0)
    for index in range(6):
        path = tmp_path / "photographs" / ("goose" if index % 2 else "catamaran") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (45, 60, 3), np.uint8)).save(path)
    return tmp_path / "photographs"


def test_photographs_are_drawn_by_the_seed(benchmark, photographs):
    chosen = [benchmark.choose(photographs, 3, seed)[0] for seed in range(6)]
    assert chosen[0] == benchmark.choose(photographs, 3, 0)[0]
    assert len({tuple(each) for each in chosen}) > 1
    assert all(len(set(each)) == 3 for each in chosen)
    paths, classes = benchmark.choose(photographs, 9, 0)
    assert (len(paths), classes) == (6, ["catamaran", "goose"])
    (photographs / "goose").rename(photographs / "swan lake")
    assert benchmark.choose(photographs, 9, 0)[1] == []


def test_fixed_point_reads_as_floating_point_does(benchmark, photographs, tmp_path, monkeypatch):
    build = functools.partial(VGG, stages=((8,), (8,)), hidden=(), grid=1)
    monkeypatch.setitem(CLASSIFIERS, "little", build)
    monkeypatch.setitem(PUBLISHED, "little", Preprocessing(40, 36))
    network = PublishedNetwork("little", 5, PUBLISHED["little"], "little.pth (5c1)")
    init = jax.jit(network.module.init, static_argnames="train")
    key = jax.random.key(0, impl="rbg")
    variables = init(key, np.zeros((1, 36, 36, 3), np.float32), train=False)
    arrays = {name: np.asarray(x) for name, x in flatten_dict(variables, sep="/").items()}
    path = tmp_path / "little.safetensors"
    save_weights(path, network, arrays)
    for name, value in (
        ("images", [str(photographs)]),
        ("weights", [str(path)]),
        ("count", 4),
        ("gradients", 1),
    ):
        monkeypatch.setattr(benchmark, f"_{name.upper()}", type("Flag", (), {"value": value}))
    monkeypatch.setattr(benchmark, "_SEED", type("Flag", (), {"value": 0}))
    measured = {}
    for engine in ("float", "fixed"):
        benchmark.measure(engine, tmp_path / "arrays.npz")
        measured[engine] = dict(np.load(tmp_path / "arrays.npz"))
    results = benchmark.summary(measured)
    assert results["photographs"] == 4
    assert 0 < results["fixed"]["share_of_largest_logit"] < 0.05
    for engine in measured:
        assert results[engine]["gradient_MiB"] >= results[engine]["MiB"] > 10
        # These are no networks of ImageNet.
        assert "closed_set_accuracy" not in results[engine]


def test_readings_are_compared_and_those_of_known_classes_counted(benchmark):
    labels = np.array(["n01855672", "n01855672", "n02981792", "house"])
    logits = np.zeros((4, 1000))
    logits[:, 5], logits[0, 99] = 9, 1  # a goose
    classes = np.array(["n01855672", "n02981792"])
    arrays = {"logits": logits, "labels": labels, "classes": classes}
    arrays |= dict.fromkeys(("seconds", "gradient_seconds"), np.float64(0.25))
    arrays |= dict.fromkeys(("bytes", "gradient_bytes"), np.int64(2**22))
    changed = logits.copy()
    changed[1, [7, 484]] = 18, 2  # a catamaran, among these classes
    results = benchmark.summary({"float": arrays, "torch": arrays | {"logits": changed}})
    assert results["torch"] == {
        "seconds": 0.25,
        "gradient_seconds": 0.25,
        "MiB": 4,
        "gradient_MiB": 4,
        "largest_difference": 18.0,
        "share_of_largest_logit": 2.0,
        "other_readings": 1,
        # The third one, where nothing stands out, is read as the first class.
        "closed_set_accuracy": 1 / 3,
    }
