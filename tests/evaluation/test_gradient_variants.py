"""The benchmark of gradient variants, from flags to files, on toys in place of classifiers."""

import json
import types

import numpy as np
import pytest
from absl.testing import flagsaver

from configs import base
from raeg_jax import data
from raeg_jax.adversarial.losses import class_permutation
from raeg_jax.data import memory as evaluation_images
from raeg_jax.errors import UserError
from raeg_jax.evaluation import controls, defended, variants
from raeg_jax.workdir import classifiers
from tests.evaluation.evaluation_toys import Brightness, flat_images, load_benchmark

LABELS = np.array([0, 1, 1, 2, 1], np.int32)
IMAGES = flat_images([70, 110, 120, 170, 130])


@pytest.fixture(scope="module")
def benchmark():
    yield from load_benchmark("gradient_variants")


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / "classifiers").mkdir()
    return tmp_path


@pytest.fixture
def toys(monkeypatch):
    """Three classes by brightness, and a data set of which only the test split is there."""
    variables = {"params": {"offset": 0.0}, "batch_stats": {"count": 0.0}}
    made = dict.fromkeys(("resnet_small", "vgg_small", "densenet_small"), (Brightness(), variables))
    splits = types.SimpleNamespace(test="test", num_classes=3)
    monkeypatch.setattr(data, "load", lambda settings: splits)
    monkeypatch.setattr(classifiers, "load_classifiers", lambda *_: made)
    monkeypatch.setattr(evaluation_images, "open_split", lambda *_: (IMAGES, LABELS, []))


def run(benchmark, workdir, **given):
    config = base.get_config()
    config.eval.pgd_steps = 3
    config.eval.batch_size = 4
    with flagsaver.flagsaver(**given):
        benchmark.main(config, workdir)


def test_rows_have_equal_psnr_and_end_up_in_both_files(benchmark, workdir, toys, capsys):
    names = ["PGD-3", "plain", "only vgg_small", "targeted", "PGD-3 targeted"]
    run(benchmark, workdir, rows=names, psnrs=["15"], splits=["test"])
    results = json.loads((workdir / "gradient_variants.json").read_text())
    assert results["splits"]["test"]["images"] == 5
    assert results["generator"]["gradient"]["mask"] == "diagonal"
    assert "jax" in results["versions"]
    rows = {row["row"]: row for row in results["splits"]["test"]["rows"]}
    assert list(rows) == [
        "original", "plain", "targeted", "only vgg_small", "PGD-3", "PGD-3 targeted"
    ]  # fmt: skip
    assert rows["only vgg_small"]["attacked"] == ["vgg_small"]
    assert rows["PGD-3"]["attacked"] == ["resnet_small", "vgg_small"]
    assert rows["original"]["accuracy"]["none"]["densenet_small"] == 1
    assert rows["original"]["psnr"] is None
    for name in rows.keys() - {"original"}:
        assert rows[name]["worst_miss"] < 0.5, name
    # At 15 dB every mean can move by 45, which is enough to be read as a neighbour: of dark and
    # bright images that is one class, of the others either.
    assert rows["plain"]["accuracy"]["none"]["resnet_small"] == 0
    permutation = class_permutation(3)
    reachable = np.mean(np.abs(permutation[LABELS] - LABELS) == 1)
    for name in ("targeted", "PGD-3 targeted"):
        assert rows[name]["hits"]["none"]["resnet_small"] == reachable, name
    text = (workdir / "gradient_variants.md").read_text()
    assert text.count("\n| ") == 1 + len(rows)
    assert text.strip() in capsys.readouterr().out


def test_pgd_has_each_images_own_distance(benchmark, workdir, toys, monkeypatch):
    asked, real = [], defended.evaluate_defended

    def evaluate(*arguments, **options):
        result = real(*arguments, **options)
        result["per_image"]["distance"] = np.arange(5)
        return result

    def attack(fns, images, labels, distance, steps, is_targeted):
        asked.append((distance.tolist(), labels.tolist(), steps, is_targeted))
        return images

    monkeypatch.setattr(defended, "evaluate_defended", evaluate)
    monkeypatch.setattr(controls, "pgd_control", attack)
    run(benchmark, workdir, rows=["plain", "PGD-3"], psnrs=["15"], splits=["test"])
    assert asked == [([0, 1, 2, 3], [0, 1, 1, 2], 3, False), ([4, 4, 4, 4], [1, 1, 1, 1], 3, False)]


def test_rows_are_written_one_by_one(benchmark, workdir, toys, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(controls, "pgd_control", broken)
    with pytest.raises(ZeroDivisionError):
        run(benchmark, workdir, rows=["plain", "PGD-3"], psnrs=["15"], splits=["test"])
    results = json.loads((workdir / "gradient_variants.json").read_text())
    assert [row["row"] for row in results["splits"]["test"]["rows"]] == ["original", "plain"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rows": ["plain", "blurred"]}, "--rows=plain,blurred.*smoothing 0.7.*PGD-3 targeted"),
        ({"rows": ["only densenet_small"]}, "--rows=only densenet_small"),
        ({"rows": ["plain", "PGD-3 targeted"]}, "'PGD-3 targeted' has the distance of 'targeted'"),
        ({"splits": ["test", "val"]}, "--splits=test,val: each must be of train, test"),
        ({"splits": []}, "--splits="),
        ({"psnrs": ["34", "much"]}, "--psnrs=34,much"),
        ({"psnrs": ["34", "nan"]}, "--psnrs=34,nan: each must be a number between 5 and 58"),
        ({"psnrs": ["3"]}, "--psnrs=3"),
        ({"out": __file__}, "--out=.*test_gradient_variants.py"),
    ],
)
def test_flags_that_cannot_be_meant_stop_before_anything_is_loaded(
    benchmark, workdir, monkeypatch, given, message
):
    monkeypatch.setattr(data, "load", lambda settings: pytest.fail("loaded"))
    with pytest.raises(UserError, match=message):
        run(benchmark, workdir, **given)


def test_impossible_settings_of_a_row_stop_before_anything_is_loaded(
    benchmark, workdir, monkeypatch
):
    made = variants.variants(base.get_config())
    made["plain"].generator.gradient.views = ()
    monkeypatch.setattr(variants, "variants", lambda config: made)
    monkeypatch.setattr(data, "load", lambda settings: pytest.fail("loaded"))
    with pytest.raises(UserError, match="views is empty"):
        run(benchmark, workdir, rows=["plain"])


def test_a_workdir_without_classifiers_is_named(benchmark, tmp_path):
    with pytest.raises(UserError, match=f"--workdir={tmp_path}/typo"):
        run(benchmark, tmp_path / "typo")
    assert not (tmp_path / "typo").exists()
