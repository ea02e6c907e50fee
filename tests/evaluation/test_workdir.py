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
from raeg_jax import data, networks
from raeg_jax.config import run_config
from raeg_jax.errors import UserError
from raeg_jax.evaluation import workdir as workdir_lib
from raeg_jax.evaluation.workdir import evaluate_workdir
from raeg_jax.invertible.generator import generator_from_config
from raeg_jax.training import classifier, parallel
from raeg_jax.training.checkpoint import Checkpoints
from raeg_jax.training.state import create_state

SEED = jax.random.key(0)
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


def save_classifier(name, config, workdir):
    """As `fit_classifier` leaves it, but not trained: its weights mean nothing."""
    splits = data.load(config.data)
    module = networks.classifier(name, splits.num_classes)
    images, rng = np.zeros((1, 32, 32, 3), np.float32), np.random.default_rng(2)
    shapes = jax.eval_shape(lambda: module.init(SEED, images, train=False))
    # Positive: variances are among them.
    variables = jax.tree.map(lambda x: rng.uniform(0.1, 1, x.shape).astype(x.dtype), shapes)
    info = {"origin": classifier.origin_of(name, splits, config), "accuracy": {}}
    folder = classifier.classifier_folder(workdir, name)
    classifier._save_weights(folder, variables)
    classifier._save_info(folder, info)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of no training: the third of four generators is the identity, the second the best."""
    folder = tmp_path_factory.mktemp("run")
    config, workdir = settings(folder), folder / "workdir"
    save_classifier("resnet_small", config, workdir)
    generator = generator_from_config(config.generator)
    shapes = jax.eval_shape(lambda key: create_state(config, generator, None, key), SEED)
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    rng = np.random.default_rng(0)
    with Checkpoints(workdir, config.train) as checkpoints:
        for step, strength, accuracy in ((1, 0, 0.9), (2, 0.05, 0.1), (3, 0, 0.9), (4, 0.1, 0.9)):
            ema = jax.tree.map(
                lambda p, s=strength: s * rng.standard_normal(p.shape, np.float32), shapes.ema
            )
            state = state.replace(step=np.int32(step), ema=ema)
            scalars = {config.train.best_metric: accuracy}
            checkpoints.save(state, {}, config, metrics=scalars)
    return folder


def results_of(folder, name="results.json"):
    return (folder / "workdir" / name).read_bytes()


def test_the_latest_checkpoint_is_evaluated_and_two_runs_agree(folder):
    config = settings(folder)
    results = evaluate_workdir(config, folder / "workdir")
    assert results["step"] == 4
    assert results["splits"]["test"]["quality"]["protected"]["exact_images"] < 0.5
    assert results["splits"]["test"]["quality"]["protected"]["psnr"] > 10
    first = results_of(folder)
    assert json.loads(first) == results
    evaluate_workdir(config, folder / "workdir")
    assert results_of(folder) == first


@pytest.mark.parametrize(
    ("name", "step", "file"),
    [("best", 2, "results-best.json"), ("latest", 4, "results.json"), ("03", 3, "results-3.json")],
)
def test_a_checkpoint_can_be_chosen_and_has_results_of_its_own(folder, name, step, file):
    results = evaluate_workdir(settings(folder), folder / "workdir", name)
    assert results["step"] == step
    assert json.loads(results_of(folder, file)) == results
    # The identity changes no image but for its payload; a generator of the wrong checkpoint would.
    psnr = results["splits"]["test"]["quality"]["protected"]["psnr"]
    assert (psnr > 48) == (step == 3)


def test_classifiers_and_checkpoints_are_only_read(folder):
    def content(name):
        files = (folder / "workdir" / name).rglob("*")
        return {file: file.read_bytes() for file in files if file.is_file()}

    before = content("classifiers"), content("checkpoints")
    assert all(before)
    evaluate_workdir(settings(folder), folder / "workdir")
    assert (content("classifiers"), content("checkpoints")) == before


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
        evaluate_workdir(config, folder / "workdir", checkpoint)


def test_results_name_the_settings_that_made_the_checkpoint(folder):
    """Not those of the flags, which nothing was trained with."""
    config = settings(folder)
    expected = config.copy_and_resolve_references()
    expected.name = config.name = "again"
    config.update_from_flattened_dict({"loss.target_psnr": 20.0, "train.steps": 99})
    config.augment.flip = False
    results = evaluate_workdir(config, folder / "workdir")
    assert results["config"] == "again"
    assert results["settings"] == run_config.to_json(expected)


def test_the_learned_stage_comes_with_the_settings_that_made_it(folder):
    config = settings(folder)
    made = config.loss.target_psnr
    config.loss.target_psnr, config.eval.max_images = made + 9, 3
    config.generator.stages, config.classifiers.held_out = ("gradient",), ("vgg16",)
    trained, params, step = workdir_lib.restore(config, folder / "workdir", "best")
    assert (step, trained.loss.target_psnr, trained.eval.max_images) == (2, made, 3)
    assert (trained.generator.stages, trained.classifiers.held_out) == (("gradient",), ("vgg16",))
    assert jax.tree.map(np.shape, params) == jax.tree.map(
        np.shape, workdir_lib._shapes(generator_from_config(config.generator), config)
    )
    assert any(np.any(leaf) for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("name", "value"),
    [("mixing", "none"), ("downsampling", "unshuffle"), ("clamp", 0.5)],
)
def test_another_network_of_the_same_shapes_is_named(folder, name, value, monkeypatch):
    config = settings(folder)
    trained = generator_from_config(config.generator)
    was = config.generator[name]
    config.generator[name] = value
    # Their parameters fit each other, so the checkpoint could be loaded.
    shapes = [
        jax.tree.map(np.shape, workdir_lib._shapes(generator, config))
        for generator in (trained, generator_from_config(config.generator))
    ]
    assert shapes[0] == shapes[1]
    monkeypatch.setattr(data, "load", None)
    difference = re.escape(f"config.generator.{name} was {was!r}, is {value!r}.")
    with pytest.raises(UserError, match=f"{difference} Evaluate it with those, .*config.json"):
        evaluate_workdir(config, folder / "workdir", "best")


def test_all_differences_are_named_at_once(folder):
    config = settings(folder)
    config.generator.coupling, config.generator.mixing = "affine", "none"
    with pytest.raises(UserError, match=r"coupling was .*; config\.generator\.mixing was"):
        evaluate_workdir(config, folder / "workdir")


def test_several_hosts_find_each_other_first(folder, tmp_path, monkeypatch):
    def start():
        raise UserError("no other host")

    monkeypatch.setattr(parallel, "start_multi_host", start)
    config = settings(folder)
    config.multi_host = True
    with pytest.raises(UserError, match="no other host"):
        evaluate_workdir(config, tmp_path / "nothing")


def test_a_folder_without_a_run_is_named_and_stays_as_it_is(folder, tmp_path):
    with pytest.raises(UserError, match="no run to evaluate"):
        evaluate_workdir(settings(folder), tmp_path / "nothing")
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
        evaluate_workdir(config, tmp_path)


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
    evaluate_workdir(config, folder / "workdir", "best")
    expected = json.loads(results_of(folder, "results-best.json"))["splits"]
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
    measured = json.loads(results_of(folder, "results-2.json"))
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
    assert workdir_lib.restore(settings(folder), workdir)[2] == 2
    assert steps == [4, 3, 2]
    shutil.rmtree(checkpoints / "2" / "ema")
    with pytest.raises(Exception, match="ema"):
        workdir_lib.restore(settings(folder), workdir)
