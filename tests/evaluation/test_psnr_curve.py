"""What the benchmark of the curve makes of its flags and of its results."""

import types

import pytest

from benchmarks import psnr_curve
from raeg_jax.errors import UserError


@pytest.fixture
def give(monkeypatch):
    """Flags as if given on the command line."""
    given = {"psnrs": ["30", "34"], "methods": ["gradient"], "splits": ["test"], "speed_psnr": None}

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
        ({"speed_psnr": 38.0, "methods": ["learned", "both"]}, ([30.0, 34.0], 38.0)),
    ],
)
def test_speed_is_measured_at_34_decibels_or_the_first(give, changes, expected):
    give(**changes)
    assert psnr_curve.parse() == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"psnrs": ["30", "x"]}, "--psnrs=30,x: must be numbers"),
        ({"psnrs": []}, "--psnrs=: must be numbers"),
        ({"psnrs": ["nan"]}, "--psnrs=nan"),
        ({"psnrs": ["0"]}, "--psnrs=0: must be numbers above 0"),
        ({"speed_psnr": -1.0}, "--speed_psnr=-1.0"),
        ({"methods": ["cpu"]}, r"--methods: \['cpu'\] must be of learned, gradient, both"),
        ({"splits": ["all"]}, "--splits"),
    ],
)
def test_flags_that_cannot_be_meant_are_named(give, changes, message):
    give(**changes)
    with pytest.raises(UserError, match=message):
        psnr_curve.parse()


def test_the_tables_tell_of_unchanged_images():
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
