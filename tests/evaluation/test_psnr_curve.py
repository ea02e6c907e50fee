"""What the benchmark of the curve makes of its flags and of its results."""

import json
import types

import numpy as np
import pytest

from configs import base
from raeg_jax import data
from raeg_jax.data import memory as evaluation_images
from raeg_jax.errors import UserError
from raeg_jax.generator import build
from raeg_jax.workdir import classifiers
from raeg_jax.workdir import run as workdir_lib
from tests.evaluation.evaluation_toys import Brightness, flat_images, load_benchmark, shift


@pytest.fixture(scope="module")
def psnr_curve():
    yield from load_benchmark("psnr_curve")


@pytest.fixture
def give(psnr_curve, monkeypatch):
    """Flags as if given on the command line."""
    given = {"psnrs": ["30", "34"], "methods": ["gradient"], "splits": ["test"], "speed_psnr": None}
    given["out"] = ""

    def give(**changes):
        for name, value in (given | changes).items():
            flag = types.SimpleNamespace(value=value)
            monkeypatch.setattr(psnr_curve, f"_{name.upper()}", flag)

    return give


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ([30.0, 34.0], 34.0)),
        ({"psnrs": ["40", "30.5"]}, ([40.0, 30.5], 40.0)),
        ({"psnrs": ["40", "30", "40.0"]}, ([40.0, 30.0], 40.0)),
        ({"speed_psnr": 38.0, "methods": ["learned", "both"]}, ([30.0, 34.0], 38.0)),
    ],
)
def test_speed_is_measured_at_34_decibels_or_the_first(psnr_curve, give, changes, expected):
    give(**changes)
    assert psnr_curve.parse() == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"psnrs": ["30", "x"]}, "--psnrs=30,x: each must be a number between 5 and 58"),
        ({"psnrs": []}, "--psnrs=: each must be"),
        ({"psnrs": ["nan"]}, "--psnrs=nan"),
        ({"psnrs": ["0"]}, "--psnrs=0: each must be"),
        ({"psnrs": ["30", "60"]}, "--psnrs=30,60: each must be"),
        ({"speed_psnr": -1.0}, "--speed_psnr=-1.0"),
        ({"speed_psnr": 60.0}, "--speed_psnr=60.0"),
        ({"methods": ["cpu"]}, "--methods=cpu: each must be of learned, gradient, both"),
        ({"splits": ["all"]}, "--splits"),
    ],
)
def test_flags_that_cannot_be_meant_are_named(psnr_curve, give, changes, message):
    give(**changes)
    with pytest.raises(UserError, match=message):
        psnr_curve.parse()


def test_the_tables_tell_of_unchanged_images(psnr_curve):
    row = {"method": "noise", "asked": 60.0, "targets": 0.5, "accuracy": {"near": 0.5}}
    rows = [
        row | {"psnr": 59.5, "worst_miss": 1.25},
        row | {"psnr": 59.5, "worst_miss": None},
        row | {"psnr": None, "worst_miss": None},
    ]
    generator = {"protect_images_per_s": 2.0, "recover_images_per_s": 4.0, "device": "cpu (x)"}
    attack = {"attack_images_per_s": 3.0, "device": "cpu (x)"}
    text = psnr_curve.markdown(
        {
            "splits": {"test": {"images": 2, "rows": rows, "gaps": {}}},
            "speed": {"gradient at 34 dB": generator, "PGD-20 at 34 dB": attack},
        }
    )
    for line in (
        "| noise | 59.50 | 1.25 | 0.500 |  |  |  |",
        "| noise | 59.50 | unchanged image | 0.500 |  |  |  |",
        "| noise | equal | unchanged image | 0.500 |  |  |  |",
        "gradient at 34 dB: 2.0 / 4.0 images/s protected / recovered on cpu (x).",
        "PGD-20 at 34 dB: 3.0 images/s attacked on cpu (x).",
    ):
        assert line in text.splitlines()


def test_gaps_without_a_number_are_told_and_none_without_controls(psnr_curve):
    row = {"method": "a", "asked": 30.0, "psnr": 30.0, "worst_miss": 0.1, "accuracy": {"near": 0.5}}
    gaps = [
        {"psnr": 30.0, "targets": 0.0, "gap": None, "beyond": "below"},
        {"psnr": 34.0, "targets": 0.2, "gap": 1.25, "beyond": None, "interval": [0.5, 2.0]},
    ]
    part = {"images": 2, "rows": [row], "gaps": {"a": gaps, "b": []}}
    text = psnr_curve.markdown({"splits": {"test": part}, "speed": {}})
    (sentence,) = [line for line in text.splitlines() if line.startswith("Decibels")]
    assert sentence == (
        "Decibels of a behind PGD at equal accuracy of targets (with the 90 % interval of a "
        "bootstrap over images): beyond PGD's curve at 30.0 (below all of its accuracies), +1.25 "
        "(+0.50 to +2.00) at 34.0."
    )


@pytest.fixture
def toys(monkeypatch, tmp_path):
    """Three classes by brightness, a learned stage that is left out, and only test images."""
    variables = {"params": {"offset": 0.0}, "batch_stats": {"count": 0.0}}
    names = ("resnet_small", "vgg_small", "densenet_small")
    splits = types.SimpleNamespace(test="test")
    images, labels = flat_images([70, 110, 120, 170]), np.array([0, 1, 1, 2], np.int32)
    monkeypatch.setattr(data, "load", lambda settings: splits)
    monkeypatch.setattr(
        classifiers, "load_classifiers", lambda *_: dict.fromkeys(names, (Brightness(), variables))
    )
    monkeypatch.setattr(evaluation_images, "open_split", lambda *_: (images, labels, []))
    monkeypatch.setattr(workdir_lib, "restore", lambda config, workdir: (config, None, 1))
    monkeypatch.setattr(build, "build_generator", lambda config, *_: shift(4.0))
    (tmp_path / "classifiers").mkdir()
    return tmp_path


def run(psnr_curve, workdir, **changes):
    config = base.get_config()
    config.eval.pgd_steps, config.eval.batch_size = 1, 4
    config.generator.gradient.update(changes)
    psnr_curve.main(config, workdir)


def test_controls_go_with_the_method_of_most_psnrs(psnr_curve, give, toys):
    give(
        methods=["learned", "gradient", "learned"],
        splits=["test", "test"],
        out=str(toys / "a" / "b"),
    )
    run(psnr_curve, toys, mask="random")
    text = (toys / "a" / "b" / "curve.json").read_text()
    results = json.loads(text)
    assert [(r["method"], r["asked"]) for r in results["splits"]["test"]["rows"]] == [
        ("learned", base.get_config().loss.target_psnr),
        *((name, psnr) for psnr in (30.0, 34.0) for name in ("gradient", "noise", "PGD-1")),
    ]
    assert results["generator"]["gradient"]["mask"] == "random"
    assert "jax" in results["versions"]
    assert (results["config"], results["image_size"]) == ("base", 64)


@pytest.mark.parametrize(
    ("workdir", "out", "message"),
    [(".", __file__, "--out=.*test_psnr_curve.py"), ("typo", "", "--workdir=.*/typo: no class")],
)
def test_folders_are_looked_at_before_anything_is_loaded(
    psnr_curve, give, toys, monkeypatch, workdir, out, message
):
    monkeypatch.setattr(data, "load", lambda settings: pytest.fail("loaded"))
    give(out=out)
    with pytest.raises(UserError, match=message):
        run(psnr_curve, toys / workdir)
    assert not (toys / "typo").exists()


def test_devices_do_not_matter(psnr_curve, give, toys, monkeypatch):
    """The tests have eight devices, over which a batch of 12 could not be trained."""
    config = base.get_config()
    config.train.batch_size, config.eval.pgd_steps, config.eval.batch_size = 12, 0, 4
    give(psnrs=["30"])
    psnr_curve.main(config, toys)
    assert "Decibels of" not in (toys / "curve.md").read_text()
