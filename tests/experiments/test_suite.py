"""The suite: what it does, where it goes on, what it refuses, and its report."""

import json
import re

import pytest

from configs import base
from raeg_jax.errors import UserError
from raeg_jax.experiments import pirates, report, settings, suite
from raeg_jax.experiments.store import Store, Unit
from tests.experiments.experiment_toys import subject


def test_experiments_are_chosen_by_name():
    assert suite.choose("full") == list(suite.EXPERIMENTS)
    assert suite.choose("pirates,reading,pirates") == ["pirates", "reading"]
    assert suite.choose("reading,full,pirates") == list(suite.EXPERIMENTS)
    with pytest.raises(UserError, match=r"--suite=reading,pirate: .*'pirate'; choose 'full' or"):
        suite.choose("reading,pirate")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": -1}, r"suite\.images=-1 is impossible"),
        ({"psnrs": ()}, r"suite\.psnrs=\(\) is impossible: .* one or more"),
        ({"pirates.steps": 0}, r"suite\.pirates\.steps=0 is impossible"),
        ({"pirates.defences": ("fog",)}, r"defences=\('fog',\) is impossible: .*jpeg_50"),
        ({"pirates.shares": (1.0,)}, r"shares=\(1\.0,\) is impossible: .* strictly between"),
        ({"pirates.architectures": ("vgg_small",)}, "has 'vgg_small', which is a target"),
    ],
)
def test_impossible_settings_are_named(change, message):
    config = base.get_config()
    config.suite.update_from_flattened_dict(change)
    with pytest.raises(UserError, match=message):
        settings.check(config)


def test_the_base_settings_are_possible():
    settings.check(base.get_config())


def test_what_is_there_is_not_done_again(tmp_path, capsys):
    calls = []

    def unit(name):
        return Unit(name, 1.0, lambda: calls.append(name) or {}, {})

    suite.run([unit("a"), unit("b")], Store(tmp_path, {}))
    suite.run([unit("a"), unit("b"), unit("c")], Store(tmp_path, {}))
    assert calls == ["a", "b", "c"]
    assert "3/3 units" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"), [(40, "40 s"), (700, "12 min"), (7500, "2 h 05 min"), (3600, "1 h 00 min")]
)
def test_durations(seconds, text):
    assert suite.duration(seconds) == text


@pytest.fixture
def done(tmp_path, monkeypatch):
    """The report of a suite on the toy, with models that are told and not trained."""
    toy = subject(tmp_path / "images", guesses=1, remover_pairs=())
    toy.config.suite.pirates.update(seeds=2, defences=("jpeg_50",), shares=())

    def train(subject, loot, architecture, seed):
        last = {"honest": 0.8, "authorised": 0.8}.get(loot.name, 0.3) + 0.01 * seed
        return {
            "images": loot.name, "training": loot.training, "architecture": architecture,
            "seed": seed, "curve": [[5, last + 0.1], [10, last]], "peak": last + 0.1,
            "last": last, "changed": 1.0,
        }  # fmt: skip

    monkeypatch.setattr(pirates, "train", train)
    store, found = Store(tmp_path, {"config": "toy"}), {}
    for name, units in suite.EXPERIMENTS.items():
        units = list(units(toy))
        suite.run(units, store)
        found[name] = {unit.name: store.find(unit) for unit in units}
    return report.of_suite(tmp_path, toy, found, {"config": "toy <1>"}), found


def test_the_report_needs_no_other_file_and_has_all_numbers(done):
    path, found = done
    page = path.read_text()
    assert "toy &lt;1&gt;: what the protection is worth" in page
    sources = re.findall(r'(?:src|href)="([^"#]*)', page)
    assert [source[:22] for source in sources if source] == ["data:image/png;base64,"]
    # One for each split's curve and for the histogram, the bars, and the models.
    assert page.count("<svg") == 4
    for heading in ("Reading", "Defences", "Recovery after distortion", "Black box"):
        assert f">{heading}</h2>" in page
    assert "<td>0.905 (0.900 to 0.910)</td>" in page
    text = (path.parent / report.TABLES_FILE).read_text()
    assert "| jpeg_50 | plain | densenet_small | 2 | 0.405 (0.400 to 0.410) |" in text
    numbers = json.loads((path.parent / report.NUMBERS).read_text())
    assert set(numbers["experiments"]) == set(found)


def test_two_reports_of_the_same_results_are_equal(done):
    path, found = done
    before = path.read_bytes()
    toy = subject(path.parent / "images", guesses=1)
    report.of_suite(path.parent, toy, found, {"config": "toy <1>"})
    assert path.read_bytes() == before


def test_what_was_not_done_is_left_out(done, tmp_path):
    path, found = done
    toy = subject(path.parent / "images")
    report.of_suite(path.parent, toy, found | {"pirates": {}}, {"config": "toy"})
    assert "Pirated models" not in path.read_text()
