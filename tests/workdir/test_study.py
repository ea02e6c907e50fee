"""Which runs a study has, what is refused, and that they share their classifiers."""

import pathlib

import pytest

from raeg_jax.errors import UserError
from raeg_jax.workdir import study as study_lib
from raeg_jax.workdir.study import is_study, seeded, share_classifiers, study_runs
from tests.experiments.studies import study

WORKDIR = pathlib.Path("work")


def test_every_variant_is_trained_with_every_seed():
    config = study({"plain": {}, "deep": {"generator.depth": 3, "loss.kappa": 1}}, seeds=(4, 2))
    runs = study_runs(config, WORKDIR)
    assert [(run.variant, run.seed, run.folder.as_posix()) for run in runs] == [
        ("plain", 4, "work/seed_4/plain"),
        ("deep", 4, "work/seed_4/deep"),
        ("plain", 2, "work/seed_2/plain"),
        ("deep", 2, "work/seed_2/deep"),
    ]
    assert [run.config.seed for run in runs] == [4, 4, 2, 2]
    assert [run.config.generator.depth for run in runs] == [1, 3, 1, 3]
    assert runs[1].config.loss.kappa == 1.0
    # What train.py makes of it is a run, and the study stays as it was.
    assert is_study(config)
    assert not any(is_study(run.config) for run in runs)
    assert (config.generator.depth, config.seed) == (1, 0)
    assert runs[0].config == seeded(config, 4)


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ((("a", ()), ("a", ())), "'a' stands twice"),
        (("plain",), r"has 'plain': each is \(name, \(\(setting, value\), ...\)\)"),
        (((3, ()),), r"has \(3, \(\)\): each is"),
        ((("a", "generator.depth"),), "each is"),
        ((("a", ("generator.depth", 3)),), r"has \('a', \('generator.depth', 3\)\): each is"),
        ((("../a", ()),), r"'\.\./a' names a folder: write letters"),
        ((("classifiers", ()),), "'classifiers' names a folder.* none of classifiers, "),
        ((("config.json", ()),), "'config.json' names a folder"),
        ((("a", (("seed", 1),)),), "'a' changes seed, which all variants of a study share"),
        ((("a", (("data.image_size", 64),)),), r"change config\.data\.image_size, or make another"),
        ((("a", (("eval.max_images", 9),)),), r"changes eval\.max_images"),
        ((("a", (("generator.deepth", 3),)),), "'generator.deepth'; did you mean generator.depth?"),
        ((("a", (("xyz", 3),)),), "'a': there is no setting 'xyz'$"),
        ((("a", (("generator.depth", "3"),)),), "generator.depth='3' is of another type than 1"),
    ],
)
def test_impossible_variants_are_refused(variants, message):
    config = study({})
    config.ablation.variants = variants
    with pytest.raises(UserError, match=message):
        study_runs(config, WORKDIR)


@pytest.mark.parametrize("seeds", [(), (1, 2, 1)])
def test_each_seed_stands_once(seeds):
    config = study({"a": {}}, seeds)
    with pytest.raises(UserError, match=r"config\.ablation\.seeds=.* one seed or more, each once"):
        study_runs(config, WORKDIR)


def test_a_seed_that_no_run_would_have_is_refused():
    config = study({"a": {}})
    config.seed = 7
    with pytest.raises(UserError, match=r"write config\.ablation\.seeds=\(7,\)"):
        study_runs(config, WORKDIR)


def test_a_copy_that_was_killed_is_made_again(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("links are not allowed")

    def kill(source, target):
        target.mkdir()
        raise KeyboardInterrupt

    (run,) = study_runs(study({"a": {}}, seeds=(7,)), tmp_path)
    (run.folder.parent / "classifiers" / "resnet_small").mkdir(parents=True)
    monkeypatch.setattr(study_lib.os, "symlink", refuse)
    with monkeypatch.context() as patch:
        patch.setattr(study_lib.shutil, "copytree", kill)
        with pytest.raises(KeyboardInterrupt):
            share_classifiers(run)
    share_classifiers(run)
    assert (run.folder / "classifiers" / "resnet_small").is_dir()
    assert [path.name for path in run.folder.iterdir()] == ["classifiers"]


@pytest.mark.parametrize("links", [True, False])
def test_classifiers_of_a_seed_are_those_of_its_runs(tmp_path, monkeypatch, links):
    def refuse(*_, **__):
        raise OSError("links are not allowed")

    (run,) = study_runs(study({"a": {}}, seeds=(7,)), tmp_path)
    network = tmp_path / "seed_7" / "classifiers" / "resnet_small" / "weights"
    network.parent.mkdir(parents=True)
    network.write_text("weights")
    if not links:
        monkeypatch.setattr(study_lib.os, "symlink", refuse)
    share_classifiers(run)
    # What is there stays, also where the same command resumes.
    share_classifiers(run)
    assert (run.folder / "classifiers").is_symlink() == links
    assert (run.folder / "classifiers" / "resnet_small" / "weights").read_text() == "weights"
    # A study's folder can be moved.
    tmp_path.joinpath("seed_7").rename(tmp_path / "moved")
    moved = tmp_path / "moved" / "a" / "classifiers" / "resnet_small" / "weights"
    assert moved.read_text() == "weights"
