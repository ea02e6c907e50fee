"""What defences and removers bring back."""

import numpy as np
import pytest

from raeg_jax.experiments import defences
from tests.experiments.experiment_toys import FloatRun, alone, compared


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return alone(tmp_path_factory.mktemp("suite"), FloatRun)


def test_files_are_classified_beside_equally_defended_originals(context):
    result = defences.measure(context, "raeg", "darker", lambda x: np.asarray(x) - np.uint8(20))
    near = result["classifiers"]["near"]
    # The generator makes images brighter by 20 and the label, and by one more where a token is
    # positive, which is about half of the pixels.
    assert near["accuracy"]["defended"] == near["accuracy"]["original"]
    assert near["attack_success"]["defended"] == 0
    assert near["accuracy"]["defended original"] < near["accuracy"]["original"]
    labels = context.run.images("test")[1]
    errors = (labels**2 + (labels + 1) ** 2) / 2
    expected = np.mean(10 * np.log10(255**2 / errors))
    assert result["psnr"]["defended"] == pytest.approx(expected, abs=0.8)


def test_units_are_of_all_defences_and_of_removers_without_method(context, tmp_path):
    context.run.config.suite.remover_pairs = (50, 0)
    names = [unit.name for unit in defences.units(context)]
    assert {"defences/raeg-none", "defences/raeg-noise_nl_means"} < set(names)
    assert names[-2:] == ["defences/raeg-remover_50", "defences/raeg-remover_all"]
    assert len(set(names)) == len(names)
    assert not [u.name for u in defences.units(compared(tmp_path)) if "remover" in u.name]


@pytest.mark.slow
def test_a_remover_learns_what_pairs_show(context):
    context.run.config.suite.remover_steps = 60
    result = defences.measure_remover(context, "raeg", 2)
    undefended = defences.measure(context, "raeg", "none", np.asarray)
    assert result["defence"] == "remover_2"
    assert result["psnr"]["defended"] > undefended["psnr"]["defended"] + 3


def test_so_many_images_leak_and_0_is_all():
    assert sorted(defences.choose(5, 0)) == sorted(defences.choose(5, 9)) == [0, 1, 2, 3, 4]
    assert len(set(defences.choose(5, 2))) == 2


def test_the_table_and_the_bars_have_all_methods(context):
    scores = {"near": {"accuracy": {"defended original": 1.0, "defended": 0.25}}}
    scores["near"]["attack_success"] = {"defended original": 0.0, "defended": 0.75}
    results = [
        {"method": "raeg", "defence": "jpeg_50", "psnr": {"defended": None}, "classifiers": scores},
        {"method": "rit", "defence": "jpeg_50", "classifiers": {}},
    ]
    assert defences.table(results, context).rows == [
        ("RAEG", "jpeg_50", "equal", "1.000", "0.250", "0.750"),
        ("RIT", "jpeg_50", "", "", "", ""),
    ]
    (cell,) = defences.headline("raeg", results, context).values()
    assert cell == "0.750"
    assert defences.bars(results, context).startswith("<svg")
