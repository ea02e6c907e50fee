"""From names to a report: what is measured, where it resumes, and what is refused."""

import dataclasses
import json
import types

import pytest

from raeg_jax.errors import UserError
from raeg_jax.experiments import quality, runner
from raeg_jax.experiments.runner import (
    choose_methods,
    measure,
    origin_of,
    run_experiments,
)
from raeg_jax.experiments.store import Store, Unit
from raeg_jax.workdir.processes import claimed
from tests.evaluation.evaluation_toys import brightness_reader
from tests.experiments.experiment_toys import published, run


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A folder whose run is the toy, but for the number of splits' classes."""

    def open_run(config, workdir, checkpoint):
        toy = run()
        return toy.config, None, None, toy.splits, toy.classifiers, None

    monkeypatch.setattr(runner, "open_run", open_run)
    return tmp_path


def test_methods_are_measured_once_and_reported_together(workdir, monkeypatch):
    config = run().config
    page = run_experiments(config, workdir, methods="noise")
    assert page == workdir / "comparison" / "report.html"
    assert "no such experiment" not in page.read_text()
    monkeypatch.setattr(quality, "measure", lambda *_: pytest.fail("measured again"))
    run_experiments(config, workdir, methods="noise")
    monkeypatch.undo()


def test_what_other_readers_read_is_measured_again(workdir, monkeypatch):
    readers = {"mine.onnx": brightness_reader()}
    run_experiments(run().config, workdir, methods="noise")
    page = run_experiments(run().config, workdir, methods="noise", readers=readers)
    numbers = json.loads((page.parent / "report.json").read_text())
    assert numbers["classifiers"]["mine.onnx"]["source"] == "made by hand"
    for entry in numbers["experiments"]["quality"].values():
        assert list(entry["result"]["classifiers"]) == ["near", "off", "mine.onnx"]
    assert "<td>mine.onnx</td><td>reader</td><td>made by hand, weights" in page.read_text()
    monkeypatch.setattr(quality, "measure", lambda *_: pytest.fail("measured again"))
    run_experiments(run().config, workdir, methods="noise", readers=readers)
    other = {"mine.onnx": dataclasses.replace(readers["mine.onnx"], digest=lambda: "another")}
    with pytest.raises(pytest.fail.Exception):
        run_experiments(run().config, workdir, methods="noise", readers=other)
    monkeypatch.undo()


def test_results_depend_on_the_weights_of_published_classifiers(tmp_path, monkeypatch):
    def origin(folder, seed_of=("a.safetensors", "b.safetensors")):
        folder.mkdir()
        found = published(run(), folder, monkeypatch, held_out=seed_of)
        return origin_of(found, None)

    first, second = origin(tmp_path / "1"), origin(tmp_path / "2", ("b.safetensors",))
    assert (
        first["published"]["b.safetensors"]["weights"]
        != second["published"]["b.safetensors"]["weights"]
    )
    assert str(tmp_path) not in json.dumps(first)
    assert "published" not in origin_of(run(), None)


def test_results_of_earlier_methods_stay_in_the_report(workdir):
    config = run().config
    run_experiments(config, workdir, methods="noise")
    run_experiments(config, workdir, methods="pgd")
    numbers = json.loads((workdir / "comparison" / "report.json").read_text())
    assert {name.split("/")[1].split("-")[0] for name in numbers["experiments"]["quality"]} == {
        "noise", "pgd",
    }  # fmt: skip
    assert numbers["origin"]["comparison"]["psnr"] == 30


def test_the_suite_is_of_the_generator_alone(workdir):
    page = run_experiments(run().config, workdir, "transfer")
    assert page == workdir / "suite" / "report.html"
    numbers = json.loads((page.parent / "report.json").read_text())
    assert numbers["experiments"].keys() == {"transfer"}


def test_what_cannot_be_meant_stops_before_anything_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "open_run", lambda *_: pytest.fail("loaded"))
    config = run().config
    config.suite.images = -1
    for given, message in [
        ({"methods": "pdg"}, "there is no method"),
        ({"experiments": "reeding"}, "there is no experiment"),
        ({"methods": "raeg"}, "suite.images=-1"),
    ]:
        with pytest.raises(UserError, match=message):
            run_experiments(config, tmp_path, **given)


def test_a_generator_that_cannot_be_compared_stops_at_once(workdir, monkeypatch):
    config = run().config
    config.generator.stages = ("shortcut", "gradient")
    toy = types.SimpleNamespace(**vars(run()))
    monkeypatch.setattr(
        runner, "open_run", lambda *_: (config, None, None, toy.splits, toy.classifiers, None)
    )
    config.generator.shortcut.target_psnr, config.generator.gradient.target_psnr = 31.0, 32.0
    with pytest.raises(UserError, match="must be above"):
        run_experiments(config, workdir, methods="raeg")


def test_methods_are_chosen_by_name():
    assert choose_methods("rae,raeg,rae") == ("rae", "raeg")
    with pytest.raises(UserError, match=r"--method=rae,pdg: .*'pdg'; choose some of raeg, rae"):
        choose_methods("rae,pdg")


def test_units_that_are_there_are_not_measured_again(tmp_path, capsys):
    calls = []

    def unit(name):
        return Unit(name, 1.0, lambda: calls.append(name) or {}, {})

    measure([unit("a"), unit("b")], Store(tmp_path, {}))
    measure([unit("a"), unit("b"), unit("c")], Store(tmp_path, {}))
    assert calls == ["a", "b", "c"]
    assert "3/3 units" in capsys.readouterr().err


def test_one_process_measures_at_a_time(tmp_path):
    unit = Unit("a/b", 1.0, lambda: pytest.fail("measured"), {})
    with claimed(tmp_path), pytest.raises(UserError, match="another run is using"):
        measure([unit], Store(tmp_path, {}))
