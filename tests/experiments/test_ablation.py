"""What a study measures of runs of random weights, when it measures again, and what is refused."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from raeg_jax.errors import UserError
from raeg_jax.experiments import ablation
from raeg_jax.experiments.ablation import report_study
from raeg_jax.experiments.page import NUMBERS
from raeg_jax.training.logs import MetricLog
from tests.evaluation.evaluation_toys import brightness_reader
from tests.experiments import experiment_toys
from tests.experiments.studies import study
from tests.workdir.untrained import save_checkpoints

ROOT = pathlib.Path(__file__).parents[2]
VARIANTS = {
    "exact": {},
    "float": {"generator.coupling": "glow"},
    "empty": {"generator.depth": 2},
    "later": {},
}


def study_config(variants=VARIANTS):
    config = study(variants, seeds=(3,))
    config.generator.update(blocks=(1,), widths=(4,), conditioner="plain")
    config.data.image_size = experiment_toys.SIZE
    config.classifiers.targets, config.classifiers.held_out = ("near",), ("off",)
    config.eval.update(batch_size=4, pgd_steps=0)
    # Random weights change images much.
    config.loss.target_psnr = 15.0
    return config


def save(run, steps):
    """Checkpoints and a log, as training would leave them; returns the last parameters."""
    (parameters, *_) = save_checkpoints(run.config, run.folder, {steps: (0.2, 0.5)}).values()
    log = MetricLog(run.folder)
    log.scalars(1, {"memory_mib": 64.0})
    for step in range(1, 251):
        values = {"loss/total": 2.0, "loss/adversary": 1.5, "psnr": step / 10}
        log.scalars(step, values | {"attack_success": 0.5, "images_per_second": 32.0})
        log.scalars(step, {"eval/psnr": 1.0})
    log.close()
    return parameters


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A study's folder, its first two variants trained, the third one begun."""
    toy = experiment_toys.run()
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation.data, "load", lambda settings: toy.splits)
        patch.setattr(ablation, "load_classifiers", lambda *_: toy.classifiers)
        # Programs of other tests stay.
        patch.setattr(ablation.jax, "clear_caches", lambda: None)
        runs = ablation.study_runs(study_config(), folder)
        save(runs[0], 12)
        save(runs[1], 6)
        runs[2].folder.mkdir(parents=True)
        yield folder


@pytest.fixture(scope="module")
def numbers(workdir):
    page = report_study(study_config(), workdir)
    assert page == workdir / "ablation" / "report.html"
    return json.loads((workdir / "ablation" / NUMBERS).read_text())


def test_a_run_is_measured_on_unseen_images(workdir, numbers):
    exact, inexact, empty = numbers["runs"]
    run = ablation.study_runs(study_config(), workdir)[0]
    _, params, _ = ablation.restore(run.config, run.folder)
    assert exact["parameters"] == sum(np.size(leaf) for leaf in jax.tree.leaves(params)) > 0
    assert (exact["variant"], exact["seed"], exact["step"], exact["images"]) == ("exact", 3, 12, 5)
    assert 0 < exact["psnr"] < 60
    assert 0 < exact["ssim"] <= 1
    assert exact["classifiers"]["near"]["role"] == "target"
    assert exact["classifiers"]["off"]["role"] == "held_out"
    for name, bits in exact["correct"].items():
        assert len(bits) == 5
        left = exact["classifiers"][name]["accuracy"]["protected"]
        assert bits.count("1") / 5 == left
    assert exact["images_per_s"].keys() == {"protect", "recover"}
    assert inexact["step"] == 6
    # Integer couplings give every sample back, but for what clipping does.
    assert inexact["exact_pixels"] < 0.95 < exact["exact_pixels"]
    assert 10 < inexact["recovered_psnr"] < 80
    assert empty["failure"].startswith("no run to evaluate in")
    assert numbers["origin"]["data"] == {"name": "toy", "fingerprint": "0"}
    assert list(numbers["variants"]) == list(VARIANTS)


def test_training_is_described_by_its_log(numbers):
    run = numbers["runs"][0]
    # Batches of 8 images, 32 images a second.
    assert run["seconds_per_step"] == 0.25
    assert run["memory_mib"] == 64.0
    curves = run["curves"]
    assert 50 < len(curves["step"]) <= 100
    assert curves["psnr"] == [step / 10 for step in curves["step"]]
    assert set(curves["loss/total"]) == {2.0}


def test_what_is_measured_is_not_measured_again_until_something_changes(
    workdir, numbers, monkeypatch
):
    measured = []

    def measure(self, run):
        measured.append(run.variant)
        return {"variant": run.variant, "seed": run.seed, "failure": "a toy"}

    monkeypatch.setattr(ablation._Study, "measure", measure)
    monkeypatch.setattr(ablation.ablation_report, "write", lambda *_: None)
    report_study(study_config(), workdir)
    assert measured == []
    # Where the data and weights lie changes no result.
    config = study_config()
    config.classifiers.weights = "elsewhere"
    report_study(config, workdir)
    assert measured == []
    # The second variant goes on to its last step.
    save(ablation.study_runs(config, workdir)[1], 12)
    report_study(config, workdir)
    assert measured == ["float"]
    # Trained anew to the same step.
    measured.clear()
    run = ablation.study_runs(config, workdir)[0]
    shutil.rmtree(run.folder)
    save(run, 12)
    report_study(config, workdir)
    assert measured == ["exact"]
    config.eval.max_images = 3
    report_study(config, workdir)
    assert measured == ["exact", "exact", "float", "empty"]


def test_a_run_that_diverged_is_not_compared(workdir, monkeypatch):
    monkeypatch.setattr(ablation, "divergence_of", lambda summary, config: "it has diverged")
    config = study_config({"exact": {}})
    config.eval.max_images = 2
    report_study(config, workdir)
    numbers = json.loads((workdir / "ablation" / NUMBERS).read_text())
    assert numbers["runs"] == [{"variant": "exact", "seed": 3, "failure": "it has diverged"}]


def test_a_run_that_was_trained_otherwise_is_not_compared(workdir):
    config = study_config({"exact": {}})
    config.loss.kappa, config.train.steps = 9.0, 24
    report_study(config, workdir)
    numbers = json.loads((workdir / "ablation" / NUMBERS).read_text())
    assert numbers["runs"][0]["failure"].startswith("trained with other settings: config.loss.k")


def test_other_readers_read_the_images_too(workdir):
    config = study_config({"exact": {}})
    report_study(config, workdir, {"mine.onnx": brightness_reader()})
    numbers = json.loads((workdir / "ablation" / NUMBERS).read_text())
    (run,) = numbers["runs"]
    assert run["classifiers"]["mine.onnx"]["role"] == "reader"
    assert len(run["correct"]["mine.onnx"]) == 5
    assert numbers["origin"]["readers"]["mine.onnx"]["source"] == "made by hand"
    assert numbers["groups"]["mine.onnx"] == ["mine.onnx"]


def test_a_stage_without_training_has_no_log(tmp_path):
    (run,) = ablation.study_runs(study_config({"fixed": {}}), tmp_path)
    found = ablation._training(run)
    assert found["seconds_per_step"] is found["memory_mib"] is None
    assert set(map(tuple, found["curves"].values())) == {()}


@pytest.mark.slow
def test_a_study_of_ones_own_from_the_command_line(tmp_path):
    """A file of ten lines is trained, reported, and not done again."""
    (tmp_path / "mine.py").write_text(
        "from configs import ablation, smoke\n"
        "def get_config():\n"
        "    config = smoke.get_config()\n"
        "    config.generator.update(blocks=(1,), widths=(8,), conditioner='plain')\n"
        "    return ablation.study(config, 'mine', {\n"
        "        'glow': {'generator.coupling': 'glow'},\n"
        "        'fixed': {'generator.stages': ('gradient',)},\n"
        "    })\n"
    )
    workdir = tmp_path / "run"

    def run(program):
        command = [sys.executable, ROOT / program, "--config=mine.py", f"--workdir={workdir}"]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "RAEG_DATA": str(tmp_path / "data")}
        environment.pop("XLA_FLAGS")
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(f"Written to {workdir / 'ablation' / 'report.html'}\n")
        return done.stderr, json.loads((workdir / "ablation" / NUMBERS).read_text())

    text, numbers = run("train.py")
    assert "2 runs: 0 trained, 2 to go" in text
    glow, fixed = numbers["runs"]
    assert (glow["step"], glow["images"]) == (12, fixed["images"]) == (12, 16)
    assert glow["memory_mib"] > 1
    assert 0 < glow["seconds_per_step"] < 60
    assert glow["curves"]["step"] == [2, 4, 6, 8, 10, 12]
    assert glow["recovered_psnr"] > 20
    # But for clipping the gradient stage gives all back.
    assert fixed["exact_images"] > 0.8 > glow["exact_images"]
    again, unchanged = run("train.py")
    assert "2 runs: 2 trained, 0 to go" in again
    assert "measuring" not in again
    assert unchanged["runs"] == run("eval.py")[1]["runs"] == numbers["runs"]


def test_nothing_is_trained_yet(tmp_path):
    with pytest.raises(UserError, match="nothing of the study is trained there"):
        report_study(study_config(), tmp_path)
    assert not (tmp_path / "ablation").exists()
