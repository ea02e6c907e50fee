"""The report: all numbers in one page, one Markdown file and one JSON file."""

import json
import re

import pytest

from raeg_jax.experiments import pirates, report
from raeg_jax.experiments.context import Context
from raeg_jax.experiments.page import NUMBERS, TABLES_FILE
from raeg_jax.experiments.registry import EXPERIMENTS, choose
from raeg_jax.experiments.store import Store
from raeg_jax.methods.registry import REVERSIBLE, TITLES
from tests.experiments.experiment_toys import alone, compared, model


def entries(context, names, folder, only=""):
    """Of units, those whose names match, measured without training models."""
    store = Store(folder, {"config": "toy"})
    return {
        name: {
            unit.name: store.measure(unit)
            for unit in EXPERIMENTS[name].units(context)
            if re.search(only, unit.name)
        }
        for name in names
    }


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """The context and results of a suite."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pirates, "train", model)
        context = alone(tmp_path_factory.mktemp("suite"))
        context.run.config.suite.pirates.update(seeds=2, defences=("jpeg_50",), shares=())
        names = [experiment.name for experiment in choose("full", False)]
        return context, entries(context, names, context.folder)


def test_the_report_needs_no_other_file_and_has_all_numbers(suite):
    context, found = suite
    path = report.write(context, found, {"config": "toy <1>"})
    page = path.read_text()
    assert "toy &lt;1&gt;: what the protection is worth" in page
    sources = re.findall(r'(?:src|href)="([^"#]*)', page)
    assert [source[:22] for source in sources if source] == ["data:image/png;base64,"]
    # Quality, curve and histogram of accuracy, defences, pirates.
    assert page.count("<svg") == 5
    for heading in ("Overview", "Quality", "Reading", "Recovery after distortion", "Black box"):
        assert f">{heading}</h2>" in page
    assert "<td>0.805 (0.800 to 0.810)</td>" in page
    text = (path.parent / TABLES_FILE).read_text()
    assert "| jpeg_50 | plain | densenet_small | 2 | 3 | 0.405 (0.400 to 0.410) |" in text
    assert "| exact | 5 of 5 |" in text
    numbers = json.loads((path.parent / NUMBERS).read_text())
    assert set(numbers["experiments"]) == set(found)


def test_two_reports_of_the_same_results_are_equal(suite):
    context, found = suite
    before = report.write(context, found, {"config": "toy"}).read_bytes()
    again = alone(context.folder)
    assert report.write(again, found, {"config": "toy"}).read_bytes() == before


def test_what_was_not_measured_is_left_out(suite):
    context, found = suite
    page = report.write(context, found | {"pirates": {}}, {"config": "toy"}).read_text()
    assert "Pirated models" not in page
    page = report.write(context, {"transfer": found["transfer"]}, {"config": "toy"}).read_text()
    assert "Overview" not in page


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pirates, "train", model)
        context = compared(tmp_path_factory.mktemp("comparison"))
        context = Context(context.run, context.folder, tuple(TITLES), compared=True)
        found = entries(context, ("quality", "distortion", "pirates"), context.folder, "(0|_50)$")
        return context, found


def test_the_first_table_has_a_column_for_each_method(comparison):
    context, found = comparison
    path = report.write(context, found, {"config": "toy"})
    text = (path.parent / "report.md").read_text()
    table = text[text.index("## Comparison") : text.index("## Quality")]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    rows = {first: others for first, *others in cells}
    assert rows[""] == list(TITLES.values())
    assert rows["pirates"] == ["0.50"] * len(TITLES)
    assert rows["exact"][1:4] == ["5 of 5", "5 of 5", ""]
    assert rows["back from the file after jpeg_50"] == ["0.00"] * len(REVERSIBLE) + [""] * (
        len(TITLES) - len(REVERSIBLE)
    )
    assert float(rows["with the payload after jpeg_50, dB"][1].split()[0]) > 25


def test_the_picture_has_the_methods_that_were_measured(comparison):
    context, found = comparison
    results = {name: [e["result"] for e in units.values()] for name, units in found.items()}
    every = report._samples(context, results)
    two = report._samples(
        context, {"quality": [r for r in results["quality"] if r["method"] in ("rae", "pgd")]}
    )
    assert every.shape[0] == two.shape[0]
    assert every.shape[1] > two.shape[1]
    assert report._samples(context, {}).shape == (1, 1, 3)
