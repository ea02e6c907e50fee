"""A run is opened for measuring: the right checkpoint, and nothing of another run."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from configs import smoke
from raeg_jax import data, evaluation
from raeg_jax.config import run_config
from raeg_jax.errors import UserError
from raeg_jax.generator.unet import unet_from_config
from raeg_jax.workdir import run as run_lib
from raeg_jax.workdir.checkpoint import Checkpoints
from raeg_jax.workdir.run import open_run
from tests.workdir.untrained import save_checkpoints, save_classifier

ROOT = pathlib.Path(__file__).parents[2]


def settings(folder):
    config = smoke.get_config()
    config.data.cache_dir = str(folder / "cache")
    config.classifiers.steps = 1
    config.classifiers.batch_size = 8
    config.classifiers.held_out = ()
    config.eval.batch_size = 8
    config.eval.max_images = 12
    config.eval.pgd_steps = 0
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of no training: the third of four generators is the identity, the second the best."""
    folder = tmp_path_factory.mktemp("run")
    config, workdir = settings(folder), folder / "workdir"
    save_classifier("resnet_small", data.load(config.data), config, workdir)
    steps = {1: (0.0, 0.9), 2: (0.05, 0.1), 3: (0.0, 0.9), 4: (0.1, 0.9)}
    save_checkpoints(config, workdir, steps)
    return folder


def evaluate(config, workdir):
    """As eval.py evaluates the latest checkpoint."""
    run = open_run(config, workdir)
    return evaluation.run(
        run.config, workdir, run.splits, run.generator, run.classifiers, step=run.step
    )


@pytest.mark.slow
def test_the_latest_checkpoint_is_evaluated_and_two_runs_agree(folder):
    def content(name):
        files = (folder / "workdir" / name).rglob("*")
        return {file: file.read_bytes() for file in files if file.is_file()}

    config, workdir = settings(folder), folder / "workdir"
    before = content("classifiers"), content("checkpoints")
    assert all(before)
    results = evaluate(config, workdir)
    assert results["step"] == 4
    assert results["splits"]["test"]["quality"]["protected"]["exact_images"] < 0.5
    assert results["splits"]["test"]["quality"]["protected"]["psnr"] > 10
    first = (workdir / "results.json").read_bytes()
    assert json.loads(first) == results
    evaluate(config, workdir)
    assert (workdir / "results.json").read_bytes() == first
    # Classifiers and checkpoints are only read.
    assert (content("classifiers"), content("checkpoints")) == before


@pytest.mark.parametrize(("name", "step"), [("best", 2), ("latest", 4), ("03", 3)])
def test_a_checkpoint_can_be_chosen(folder, name, step):
    run = open_run(settings(folder), folder / "workdir", name)
    assert run.step == step
    # The third is the identity.
    changes = any(np.any(leaf) for leaf in jax.tree.leaves(run.params))
    assert changes == (step != 3)
    assert run.generator.exact
    assert list(run.classifiers) == ["resnet_small"]


@pytest.mark.parametrize(
    ("changes", "checkpoint", "message"),
    [
        ({}, "7", "no checkpoint '7'"),
        (
            {"generator.widths": (16, 8)},
            "3",
            r"config\.generator\.widths was \[8, 8\], is",
        ),
        ({"data.test_fraction": 0.5}, "latest", r"config\.data\.test_fraction was 0\.2, is 0\.5"),
        ({"classifiers.steps": 2}, "latest", r"config\.classifiers\.steps was 1, is 2"),
        ({"classifiers.held_out": ("vgg_small",)}, "latest", "no classifier 'vgg_small'"),
        ({"seed": 1}, "latest", r"config\.seed was 0, is 1"),
    ],
    ids=["step", "network", "data", "training", "classifier", "seed"],
)
def test_what_does_not_belong_to_the_run_is_named(folder, changes, checkpoint, message):
    config = settings(folder)
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=message):
        open_run(config, folder / "workdir", checkpoint)


def test_settings_are_those_that_made_the_checkpoint(folder):
    """Not those of the flags, which nothing was trained with."""
    config = settings(folder)
    expected = config.copy_and_resolve_references()
    expected.name = config.name = "again"
    config.update_from_flattened_dict({"loss.target_psnr": 20.0, "train.steps": 99})
    config.augment.flip = False
    run = open_run(config, folder / "workdir")
    assert run_config.to_json(run.config) == run_config.to_json(expected)


def test_the_learned_stage_comes_with_the_settings_that_made_it(folder):
    config = settings(folder)
    made = config.loss.target_psnr
    config.loss.target_psnr, config.eval.max_images = made + 9, 3
    config.generator.stages, config.classifiers.held_out = ("gradient",), ("vgg16",)
    trained, params, step = run_lib.restore(config, folder / "workdir", "best")
    assert (step, trained.loss.target_psnr, trained.eval.max_images) == (2, made, 3)
    assert (trained.generator.stages, trained.classifiers.held_out) == (("gradient",), ("vgg16",))
    assert jax.tree.map(np.shape, params) == jax.tree.map(
        np.shape, run_lib._shapes(unet_from_config(config.generator), config)
    )
    assert any(np.any(leaf) for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("name", "value"),
    [("mixing", "none"), ("downsampling", "unshuffle"), ("clamp", 0.5)],
)
def test_another_network_of_the_same_shapes_is_named(folder, name, value, monkeypatch):
    config = settings(folder)
    trained = unet_from_config(config.generator)
    was = config.generator[name]
    config.generator[name] = value
    # Their parameters fit each other, so the checkpoint could be loaded.
    shapes = [
        jax.tree.map(np.shape, run_lib._shapes(generator, config))
        for generator in (trained, unet_from_config(config.generator))
    ]
    assert shapes[0] == shapes[1]
    monkeypatch.setattr(data, "load", None)
    difference = re.escape(f"config.generator.{name} was {was!r}, is {value!r}.")
    with pytest.raises(UserError, match=f"{difference} Evaluate it with those, .*config.json"):
        open_run(config, folder / "workdir", "best")


def test_all_differences_are_named_at_once(folder):
    config = settings(folder)
    config.generator.coupling, config.generator.mixing = "affine", "none"
    with pytest.raises(UserError, match=r"coupling was .*; config\.generator\.mixing was"):
        open_run(config, folder / "workdir")


def test_a_folder_without_a_run_is_named_and_stays_as_it_is(folder, tmp_path):
    with pytest.raises(UserError, match="no run to evaluate"):
        open_run(settings(folder), tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("stages", [("learned",), ("gradient",)])
def test_a_run_without_classifiers_is_named_before_data_are_prepared(
    folder, tmp_path, monkeypatch, stages
):
    shutil.copytree(folder / "workdir" / "checkpoints", tmp_path / "checkpoints")
    monkeypatch.setattr(data, "load", lambda settings: pytest.fail("loaded"))
    config = settings(folder)
    config.generator.stages = stages
    with pytest.raises(UserError, match=f"--workdir={tmp_path}: no classifiers there"):
        open_run(config, tmp_path)


def script(*flags):
    environment = {**os.environ, "XLA_FLAGS": ""}
    return subprocess.run(
        [sys.executable, ROOT / "eval.py", f"--config={ROOT}/configs/smoke.py", *flags],
        capture_output=True,
        text=True,
        cwd=ROOT.parent,
        env=environment,
    )


@pytest.mark.slow
def test_the_script_evaluates_with_the_flags_of_the_training_run(folder):
    config = settings(folder)
    run = open_run(config, folder / "workdir", "best")
    expected = evaluation.run(
        run.config, folder / "best", run.splits, run.generator, run.classifiers, step=run.step
    )["splits"]
    result = script(
        f"--workdir={folder}/workdir",
        f"--config.data.cache_dir={folder}/cache",
        "--config.classifiers.steps=1",
        "--config.classifiers.batch_size=8",
        "--config.classifiers.held_out=()",
        "--config.eval.batch_size=8",
        "--config.eval.max_images=12",
        "--config.eval.pgd_steps=0",
        "--checkpoint=2",
    )
    assert result.returncode == 0, result.stderr
    assert "test images (unseen), 12" in result.stdout
    measured = json.loads((folder / "workdir" / "results-2.json").read_text())
    assert "--checkpoint=2" in measured["command"]
    for split, summary in expected.items():
        now = measured["splits"][split]
        assert now["images"] == summary["images"]
        for variant, quality in summary["quality"].items():
            for name, value in quality.items():
                np.testing.assert_allclose(now["quality"][variant][name], value, rtol=1e-3)


def test_the_script_tells_mistakes_in_one_line(tmp_path):
    result = script(f"--workdir={tmp_path}/nothing")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: no run to evaluate")


def test_a_checkpoint_that_vanishes_while_it_is_read_is_no_error(folder, tmp_path, monkeypatch):
    """As a run at work deletes one file by file: the next newest is read."""
    workdir = tmp_path / "workdir"
    shutil.copytree(folder / "workdir", workdir)
    checkpoints, read = workdir / "checkpoints", Checkpoints.restore_ema
    steps = []

    def delete(self, target, step):
        steps.append(step)
        if step > 2:
            shutil.rmtree(checkpoints / str(step) / "ema")
            (checkpoints / str(step)).rename(checkpoints / "deleted")
            shutil.rmtree(checkpoints / "deleted")
        return read(self, target, step)

    monkeypatch.setattr(Checkpoints, "restore_ema", delete)
    assert run_lib.restore(settings(folder), workdir)[2] == 2
    assert steps == [4, 3, 2]
    shutil.rmtree(checkpoints / "2" / "ema")
    with pytest.raises(Exception, match="ema"):
        run_lib.restore(settings(folder), workdir)
