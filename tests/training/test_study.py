"""All runs of a study are trained, each once, and the same command goes on; nothing trains here."""

import re
import types

import pytest

from raeg_jax.errors import UserError
from raeg_jax.training import study as study_lib
from raeg_jax.training.loop import DivergedError
from raeg_jax.training.study import is_trained, train_study
from raeg_jax.workdir.study import study_runs
from tests.experiments.studies import study
from tests.workdir.untrained import save_checkpoints

VARIANTS = {"one": {}, "two": {"generator.depth": 2}, "three": {"generator.depth": 3}}


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Folders that were trained in, in order; `results` has what came of other than success."""
    seen = types.SimpleNamespace(folders=[], results={}, done=set())
    splits = object()
    # Programs of other tests stay.
    monkeypatch.setattr(study_lib.jax, "clear_caches", lambda: None)

    def train(config, workdir, given):
        assert given is splits
        folder = workdir.relative_to(tmp_path).as_posix()
        seen.folders.append(folder)
        result = seen.results.get(folder, "done")
        if isinstance(result, Exception):
            raise result
        if "/" in folder:
            assert (workdir / "classifiers" / "weights").exists()
            assert config.generator.stages == ("learned",)
            if result:
                seen.done.add(folder)
        else:
            # Of the classifiers alone.
            assert config.generator.stages == ("gradient",)
            (workdir / "classifiers").mkdir(parents=True, exist_ok=True)
            (workdir / "classifiers" / "weights").touch()
        return result

    def is_done(run):
        return run.folder.relative_to(tmp_path).as_posix() in seen.done

    monkeypatch.setattr(study_lib, "train", train)
    monkeypatch.setattr(study_lib, "is_trained", is_done)
    monkeypatch.setattr(study_lib.data, "load", lambda settings: splits)
    return seen


def test_classifiers_come_first_then_all_variants_seed_by_seed(trained, tmp_path, capsys):
    assert train_study(study(VARIANTS), tmp_path)
    assert trained.folders == [
        *("seed_0", "seed_1"),
        *("seed_0/one", "seed_0/two", "seed_0/three"),
        *("seed_1/one", "seed_1/two", "seed_1/three"),
    ]
    text = capsys.readouterr().err
    assert "6 runs: 0 trained, 6 to go" in text
    assert "run 1 of 6: one, seed 0\n" in text
    assert re.search(r"run 6 of 6: three, seed 1, about \d+ s left\n", text)


def test_a_signal_stops_and_the_same_command_goes_on(trained, tmp_path, capsys):
    config = study(VARIANTS)
    trained.results["seed_0/two"] = None
    assert not train_study(config, tmp_path)
    assert trained.folders == ["seed_0", "seed_1", "seed_0/one", "seed_0/two"]
    trained.folders.clear()
    trained.results["seed_0/two"] = "done"
    capsys.readouterr()
    assert train_study(config, tmp_path)
    assert trained.folders[2:4] == ["seed_0/two", "seed_0/three"]
    assert "6 runs: 1 trained, 5 to go" in capsys.readouterr().err
    trained.folders.clear()
    assert train_study(config, tmp_path)
    # The report needs classifiers, which somebody may have removed.
    assert trained.folders == ["seed_0", "seed_1"]


def test_a_signal_while_classifiers_train_stops_the_study(trained, tmp_path):
    trained.results["seed_0"] = None
    assert not train_study(study(VARIANTS), tmp_path)
    assert trained.folders == ["seed_0"]


def test_a_variant_that_diverges_does_not_stop_the_others(trained, tmp_path, capsys):
    trained.results["seed_0/one"] = DivergedError("loss/total is nan")
    assert train_study(study(VARIANTS, seeds=(0,)), tmp_path)
    assert trained.folders[1:] == ["seed_0/one", "seed_0/two", "seed_0/three"]
    assert "note: one, seed 0: loss/total is nan" in capsys.readouterr().err


def test_other_errors_of_the_user_stop_the_study(trained, tmp_path):
    trained.results["seed_0/one"] = UserError("another run's workdir")
    with pytest.raises(UserError, match="another run's"):
        train_study(study(VARIANTS), tmp_path)


def test_trained_is_what_has_all_steps_with_the_same_settings(tmp_path):
    config = study({"one": {}, "fixed": {"generator.stages": ("gradient",)}}, seeds=(0,))
    config.generator.update(blocks=(1,), widths=(4,), conditioner="plain")
    learned, fixed = study_runs(config, tmp_path)
    assert not is_trained(learned)
    save_checkpoints(learned.config, learned.folder, {6: (0.1, 0.5)})
    assert not is_trained(learned)
    save_checkpoints(learned.config, learned.folder, {12: (0.1, 0.5)})
    assert is_trained(learned)
    learned.config.loss.kappa = 3.0
    assert not is_trained(learned)
    # What has no learned stage needs the classifiers alone.
    assert not is_trained(fixed)
    fixed.folder.mkdir()
    (fixed.folder / "config.json").touch()
    assert is_trained(fixed)
