"""What `raeg train` and `raeg eval` do in which order; the parts have tests of their own."""

import contextlib
import pathlib
import types

import pytest

from configs import smoke
from raeg_jax import data, evaluation
from raeg_jax.cli import evaluate, train
from raeg_jax.errors import UserError
from raeg_jax.experiments import ablation
from raeg_jax.process import EXIT_STOPPED
from raeg_jax.training import generator
from raeg_jax.training import study as study_lib
from raeg_jax.workdir import processes
from raeg_jax.workdir import run as run_lib
from raeg_jax.workdir.run import Run
from tests.experiments.studies import study


@pytest.fixture
def config():
    return smoke.get_config()


@pytest.fixture(autouse=True)
def no_flags(monkeypatch):
    defaults = {"_CHECKPOINT": "latest", "_SUITE": "", "_METHOD": None}
    for name, value in (defaults | {"_READER": [], "_PREPROCESS": ""}).items():
        monkeypatch.setattr(evaluate, name, types.SimpleNamespace(value=value))


@pytest.fixture
def calls(monkeypatch):
    """What was evaluated: (workdir, checkpoint, step)."""
    calls = []

    def run(config, workdir, *_, checkpoint="latest", step=None, **__):
        # Other runs are kept out until the evaluation has ended.
        locked = (pathlib.Path(workdir) / processes.LOCK_FILE).exists()
        calls.append((workdir, checkpoint, step, locked))

    monkeypatch.setattr(evaluation, "run", run)
    monkeypatch.setattr(Run, "generator", None)
    return calls


def test_training_is_followed_by_evaluation(config, tmp_path, monkeypatch, calls):
    monkeypatch.setattr(generator, "train", lambda config, workdir: Run(config, {}, 12, None, {}))
    monkeypatch.chdir(tmp_path)
    train.main(config, pathlib.Path("run"))
    assert calls == [(tmp_path / "run", "latest", 12, True)]


def test_a_stopped_run_is_not_evaluated(config, tmp_path, monkeypatch, calls):
    monkeypatch.setattr(generator, "train", lambda config, workdir: None)
    with pytest.raises(SystemExit) as stopped:
        train.main(config, tmp_path)
    assert stopped.value.code == EXIT_STOPPED
    assert not calls


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train.batch_size": 12}, r"config\.train\.batch_size"),
        (
            {"generator.stages": ("learned", "gradient"), "loss.target_psnr": 20.0},
            r"config\.loss\.target_psnr=20.0 must be above",
        ),
    ],
)
def test_impossible_settings_stop_training_before_it_begins(config, tmp_path, change, message):
    config.update_from_flattened_dict(change)
    with pytest.raises(UserError, match=message):
        train.main(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("checkpoint", "name"), [("latest", "latest"), ("best", "best"), ("03", "3")]
)
def test_results_are_named_by_the_checkpoint(
    config, tmp_path, monkeypatch, calls, checkpoint, name
):
    # A batch of 4 can't be split over the 8 devices of the tests; training would refuse it.
    config.train.batch_size = 4
    monkeypatch.setattr(run_lib, "open_run", lambda *_: Run(config, {}, 3, None, {}))
    monkeypatch.setattr(evaluate, "_CHECKPOINT", types.SimpleNamespace(value=checkpoint))
    evaluate.main(config, tmp_path)
    assert calls == [(tmp_path, name, 3, False)]


def test_impossible_settings_stop_evaluation_before_data_are_loaded(config, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", None)
    config.eval.batch_size = 0
    with pytest.raises(UserError, match=r"config\.eval\.batch_size=0"):
        evaluate.main(config, tmp_path)


@pytest.fixture
def reports(monkeypatch):
    """Workdirs of studies that were reported, and whether other runs were kept out."""
    reports = []

    def report(config, workdir, readers=None):
        reports.append((workdir, (workdir / processes.LOCK_FILE).exists()))
        return workdir / "ablation" / "report.html"

    monkeypatch.setattr(ablation, "report_study", report)
    return reports


@pytest.mark.parametrize("finished", [True, False])
def test_a_study_is_trained_and_then_reported(tmp_path, monkeypatch, reports, capsys, finished):
    seen = []

    def train_study(config, workdir):
        seen.append((config.name, workdir))
        return finished

    monkeypatch.setattr(study_lib, "train_study", train_study)
    monkeypatch.chdir(tmp_path)
    with contextlib.nullcontext() if finished else pytest.raises(SystemExit, match="75"):
        train.main(study({"a": {}, "b": {"generator.depth": 2}}), pathlib.Path("run"))
    assert seen == [("toy & study", tmp_path / "run")]
    assert reports == [(tmp_path / "run", True)] * finished
    page = tmp_path / "run" / "ablation" / "report.html"
    assert capsys.readouterr().out == f"Written to {page}\n" * finished


def test_several_hosts_leave_the_report_to_one(tmp_path, monkeypatch, reports, capsys):
    config = study({"a": {}})
    config.multi_host = True
    monkeypatch.setattr(processes, "start_multi_host", lambda: None)
    monkeypatch.setattr(study_lib, "train_study", lambda *_: True)
    train.main(config, tmp_path)
    assert not reports
    assert "eval.py with the same --config and --workdir reports" in capsys.readouterr().err
    monkeypatch.setattr(processes, "start_multi_host", None)
    evaluate.main(config, tmp_path)
    assert len(reports) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generator.depth": 0}, r"config\.generator\.depth=0"),
        ({"train.batch_size": 12}, r"config\.train\.batch_size"),
        (
            {"generator.stages": ("learned", "gradient"), "loss.target_psnr": 20.0},
            r"loss\.target_psnr=20.0 must be above",
        ),
        ({"generator.deepth": 2}, "did you mean generator.depth"),
    ],
)
def test_an_impossible_variant_stops_a_study_before_it_begins(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        train.main(study({"a": {}, "b": changes}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_study_is_evaluated_as_a_whole(tmp_path, monkeypatch, reports, capsys):
    evaluate.main(study({"a": {}}), tmp_path)
    assert reports == [(tmp_path, False)]
    assert capsys.readouterr().out.startswith("Written to ")


@pytest.mark.parametrize(
    ("flag", "value"), [("_METHOD", ""), ("_SUITE", "quality"), ("_CHECKPOINT", "best")]
)
def test_flags_of_runs_do_not_go_with_a_study(tmp_path, monkeypatch, reports, flag, value):
    monkeypatch.setattr(evaluate, flag, types.SimpleNamespace(value=value))
    with pytest.raises(UserError, match="--suite, --method and --checkpoint go with a run"):
        evaluate.main(study({"a": {}}), tmp_path)
    assert not reports


@pytest.mark.parametrize(
    ("flag", "variable"),
    [("_METHOD", "JAX_NUM_PROCESSES"), ("_SUITE", "SLURM_STEP_NUM_TASKS")],
)
def test_experiments_are_the_work_of_one_process(config, tmp_path, monkeypatch, flag, variable):
    monkeypatch.setattr(evaluate, flag, types.SimpleNamespace(value="raeg"))
    monkeypatch.setenv(variable, "2")
    with pytest.raises(UserError, match=rf"one process, and {variable} says that 2 were started"):
        evaluate.main(config, tmp_path)
    # With one, it stops later, at what isn't there.
    monkeypatch.setenv(variable, "1")
    with pytest.raises(UserError, match=r"no run to evaluate|no experiment"):
        evaluate.main(config, tmp_path)


@pytest.mark.parametrize("main", [train.main, evaluate.main])
def test_several_hosts_find_each_other_first(config, tmp_path, monkeypatch, main):
    def start():
        raise UserError("no other host")

    monkeypatch.setattr(processes, "start_multi_host", start)
    config.multi_host, config.eval.batch_size = True, 0
    with pytest.raises(UserError, match="no other host"):
        main(config, tmp_path)
