"""train.py and eval.py with gradient stages, as users start them."""

import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from configs import smoke
from raeg_jax.cli.export import export

# Minutes: whole runs, in programs as users have them.
pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
GRADIENT = smoke.get_config().generator.gradient
PSNR, ROUNDS = GRADIENT.target_psnr, GRADIENT.rounds


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    environment = os.environ | {"RAEG_DATA": str(tmp_path_factory.mktemp("data"))}
    environment.pop("XLA_FLAGS")
    # Recovery must be exact in programs as users have them.
    environment.pop("JAX_DISABLE_MOST_OPTIMIZATIONS", None)
    return environment


def call(script, workdir, environment, stages, *arguments):
    command = [
        *(sys.executable, script, "--config=configs/smoke.py", f"--workdir={workdir}"),
        *(f"--config.generator.stages={stages}", "--config.classifiers.held_out=()"),
        "--config.train.steps=2",
        *("--config.eval.pgd_steps=0", "--config.eval.max_images=8"),
        *("--config.generator.blocks=(1,)", "--config.generator.widths=(8,)"),
        *arguments,
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True)
    return done.returncode, done.stdout + done.stderr


def rows_of(workdir):
    with (workdir / "images.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_protected_and_recovered(workdir):
    rows = rows_of(workdir)
    assert [row["file"] for row in rows if row["exact"] != "1"] == []
    in_range = [row for row in rows if float(row["outside_range"]) == 0]
    assert in_range
    assert [row["file"] for row in in_range if row["exact_from_pixels_alone"] != "1"] == []
    # Hiding the payload, at 40 dB or more, comes on top of what the stages do.
    psnrs = [float(row["psnr_protected"]) for row in rows]
    assert [psnr for psnr in psnrs if not PSNR - 1.3 < psnr < PSNR + 0.3] == []


@pytest.fixture(scope="module")
def trained(environment, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("both")
    status, output = call("train.py", workdir, environment, "('learned','gradient')")
    assert status == 0, output
    return workdir


def test_gradient_stages_follow_the_learned_one(trained):
    assert (trained / "checkpoints").is_dir()
    assert_protected_and_recovered(trained)
    results = json.loads((trained / "results.json").read_text())
    assert results["generator"]["stages"] == ["learned", "gradient"]
    test = results["splits"]["test"]
    assert "after_learned" in test["quality"]
    assert "learned alone" in (trained / "results.md").read_text()
    assert sum(test["payload"][name] for name in ("in_pixels", "beside_pixels")) == test["images"]
    assert 1 <= results["splits"]["test"]["rounds"]["mean"] < ROUNDS


def test_a_generator_of_gradient_stages_alone_needs_only_classifiers(
    trained, environment, tmp_path
):
    shutil.copytree(trained / "classifiers", tmp_path / "classifiers")
    status, output = call("train.py", tmp_path, environment, "('gradient',)")
    assert status == 0, output
    # But for the numbers of training and test images.
    assert "training" not in output.replace(" training and ", "")
    assert not (tmp_path / "checkpoints").exists()
    assert_protected_and_recovered(tmp_path)
    first = (tmp_path / "images.csv").read_bytes()
    status, output = call("eval.py", tmp_path, environment, "('gradient',)")
    assert status == 0, output
    assert (tmp_path / "images.csv").read_bytes() == first
    status, output = call("eval.py", tmp_path, environment, "('gradient',)", "--checkpoint=best")
    assert (status, output.count("\n")) == (2, 1)
    assert "have no checkpoints" in output


def test_the_learned_stage_of_a_run_can_be_evaluated_alone(trained, environment):
    status, output = call("eval.py", trained, environment, "('learned',)")
    assert status == 0, output
    assert json.loads((trained / "results.json").read_text())["splits"]["test"]["rounds"] is None
    # The result of both stages is still there.
    (kept,) = trained.glob("results-learned-gradient-*.json")
    assert json.loads(kept.read_text())["splits"]["test"]["rounds"]["mean"] >= 1
    assert f"is kept: {kept.name}" in output


def test_learned_patterns_are_trained_evaluated_and_exported(environment, tmp_path):
    flags = ["--config.generator.shortcut.pattern=learned"]
    status, output = call("train.py", tmp_path, environment, "('shortcut',)", *flags)
    assert status == 0, output
    assert (tmp_path / "patterns" / "patterns.npy").is_file()
    rows = rows_of(tmp_path)
    assert [row["file"] for row in rows if row["exact"] != "1"] == []
    status, output = call("eval.py", tmp_path, environment, "('shortcut',)", *flags)
    assert status == 0, output
    loaded = export(tmp_path, tmp_path / "generator.raeg")
    assert loaded.patterns.shape[2:] == (8, 8, 3)
    other = ["--config.patterns.steps=9"]
    status, output = call("train.py", tmp_path, environment, "('shortcut',)", *flags, *other)
    assert status == 2
    assert "config.patterns.steps was 4, is 9" in output
