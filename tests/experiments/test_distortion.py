"""Distorted files give back nothing by themselves, and something with their payloads."""

import pytest

from raeg_jax.experiments import distortion
from raeg_jax.experiments.context import Context
from tests.experiments.experiment_toys import FloatRun, alone, compared, run


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("comparison"))


@pytest.mark.parametrize(("method", "share"), [("raeg", 1), ("rae", 1), ("rit", 0)])
def test_payloads_in_pixels_break_and_kept_ones_help_some(context, method, share):
    """How much data RIT has of a block depends on its pixels: changed ones undo nothing."""
    result = distortion.measure(context, method, "jpeg_50")
    assert (result["from_file"], result["with_payload"], result["exact"]) == (
        0, share, 0 if share else None,
    )  # fmt: skip
    assert (result["psnr"] is None) == (not share)


def test_files_that_are_not_distorted_are_recovered(context):
    result = distortion.measure(context, "raeg", "none")
    assert (result["from_file"], result["with_payload"]) == (1, 1)
    assert result["ssim_to_distorted"] == result["ssim"] > 0.99


def test_what_rae_averages_outlives_jpeg(context):
    result = distortion.measure(context, "rae", "jpeg_90")
    assert result["psnr"] > result["psnr_before"] + 1


def test_a_generator_with_fractions_is_undone_from_pixels(tmp_path):
    context = alone(tmp_path, FloatRun)
    none, bits = (distortion.measure(context, "raeg", name) for name in ("none", "bits_4"))
    assert (none["exact"], none["psnr"]) == (1.0, None)
    assert none["classifiers"]["near"]["attack_success"]["recovered"] == 0
    assert bits["exact"] == 0
    assert bits["psnr"] > 30


def test_a_method_without_files_has_a_row(tmp_path):
    context = compared(tmp_path)
    context.run.config.comparison.psnr = 58.0
    result = distortion.measure(context, "rit", "jpeg_50")
    assert result["protected"] == 0
    (row,) = distortion.table([result], context).rows
    assert row == ("RIT", "jpeg_50", *[""] * 9)
    assert distortion.headline("rit", [result], context) == {
        "back from the file after jpeg_50": "",
        "with the payload after jpeg_50, dB": "",
    }


def test_units_are_of_methods_that_can_be_undone(tmp_path):
    context = Context(run(), tmp_path, ("noise", "rae"), compared=True)
    names = [unit.name for unit in distortion.units(context)]
    assert names == [f"distortion/rae-{name}" for name in ("jpeg_90", "jpeg_50", "blur_1")]
