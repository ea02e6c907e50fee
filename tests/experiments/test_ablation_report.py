"""The report of a study, of results that nobody measured."""

import json
import re

import pytest
import scipy.stats

from raeg_jax.experiments import ablation_report
from raeg_jax.experiments.page import NUMBERS, TABLES_FILE
from tests.experiments.studies import result, study

VARIANTS = {
    "first_one": {},
    "second": {"loss.target_psnr": 38.0},
    "half": {"generator.depth": 1},
    "broken": {},
    "later": {},
}
READ = {"target_a": "1100", "target_b": "1000", "held_c": "1111", "lite": "1110"}
RESULTS = [
    result("first_one", 0, READ),
    result("first_one", 1, READ | {"target_b": "1110"}, psnr=38.75),
    result("second", 0, READ | {"target_a": "0000"}, recovered_psnr=51.234, exact_images=0.5),
    result("second", 1, READ | {"target_a": "0100"}, recovered_psnr=52.234, exact_images=0.25),
    # Stopped, and without what some stages and compilers don't tell.
    result("half", 1, READ, step=6, seconds_per_step=None, memory_mib=None, psnr=None,
           curves={"step": [], "psnr": [], "attack_success": [], "loss/adversary": []}),
    {"variant": "broken", "seed": 0, "failure": "there is no checkpoint in <there>"},
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "ablation"
    folder.mkdir()
    page = ablation_report.write(study(VARIANTS), folder, RESULTS, {"config": "toy"})
    assert page.parent == folder
    return folder


def tables(folder):
    """Of the Markdown: for each heading the rows by their first cell, as {head: cell}."""
    found = {}
    for part in (folder / TABLES_FILE).read_text().split("\n## ")[1:]:
        lines = [line for line in part.splitlines() if line.startswith("|")]
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
        head, _, *rows = cells
        found[part.splitlines()[0]] = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    return found


def test_seeds_are_averaged_and_their_range_is_given(folder):
    table = tables(folder)["Protection"]
    assert list(table) == ["originals", *VARIANTS]
    assert table["originals"]["accuracy left, targets"] == "0.812 (0.750 to 0.875)"
    assert table["originals"]["PSNR, dB"] == table["originals"]["seeds"] == ""
    first, second = table["first_one"], table["second"]
    # Seeds: (.5 + .25) / 2 and (.5 + .75) / 2.
    assert first["accuracy left, targets"] == "0.500 (0.375 to 0.625)"
    assert first["attack success, targets"] == "0.500 (0.375 to 0.625)"
    assert first["accuracy left, held out"] == "1.000"
    assert first["accuracy left, lite"] == "0.750"
    assert first["PSNR, dB"] == "38.50 (38.25 to 38.75)"
    # The smoke configuration aims at 34.5 dB, this variant at another PSNR.
    assert first["above target, dB"] == "+4.00 (+3.75 to +4.25)"
    assert second["above target, dB"] == "+0.25"
    assert second["SSIM"] == "0.9512"


def test_what_is_not_there_is_said(folder):
    table, incomplete = (tables(folder)[name] for name in ("Protection", "Incomplete"))
    assert table["first_one"]["seeds"] == "2"
    assert table["half"]["seeds"] == "1 of 2, unfinished"
    assert table["half"]["PSNR, dB"] == "equal"
    assert table["broken"]["seeds"] == "failed"
    assert table["later"]["seeds"] == "not trained"
    assert set(table["later"].values()) == {"later", "not trained", ""}
    text = (folder / TABLES_FILE).read_text()
    assert "| broken | 0 | there is no checkpoint in <there> |" in text
    assert "| half | 1 | measured after step 6 of 12 |" in text
    assert "| half | 0 | not trained |" in text
    assert set(incomplete) == {"half", "broken", "later"}


def test_recovery_and_cost(folder):
    recovery, cost = (tables(folder)[name] for name in ("Recovery", "Cost"))
    assert recovery["first_one"]["recovered, dB"] == "equal"
    assert recovery["second"]["recovered, dB"] == "51.73 (51.23 to 52.23)"
    assert recovery["second"]["exact images"] == "0.375 (0.250 to 0.500)"
    assert recovery["first_one"]["outside 0..255"] == "0.00125"
    assert recovery["first_one"]["accuracy with a wrong token"] == "0.250 (0.188 to 0.312)"
    assert cost["first_one"] == {
        "variant": "first_one", "seeds": "2", "parameters": "12345", "seconds a step": "0.125",
        "memory of a step, MiB": "256", "protect, images/s": "100.0", "recover, images/s": "50.0",
    }  # fmt: skip
    assert cost["half"]["seconds a step"] == cost["half"]["memory of a step, MiB"] == ""


def test_differences_are_paired(folder):
    table = tables(folder)["Difference from first_one"]
    assert list(table) == list(VARIANTS)[1:]
    # Per image, means over target_a and target_b and both seeds: of target_a -1 -1 0 0 with the
    # first seed and -1 0 0 0 with the second, of target_b 0 0 0 0 and 0 -1 -1 0.
    by_image = [-0.5, -0.5, -0.25, 0.0]
    interval = scipy.stats.norm.interval(0.95, sum(by_image) / 4, scipy.stats.sem(by_image))
    low, high = (f"{end:+.3f}" for end in interval)
    assert table["second"]["targets"] == f"-0.312 [{low}, {high}] *"
    assert table["second"]["targets, each seed"] == "-0.375 to -0.250"
    assert table["second"]["held out"] == "+0.000 [+0.000, +0.000]"
    assert table["second"]["PSNR, dB"] == "-0.25 (-0.50 to +0.00)"
    # One seed that both have; no image changed, so there is no PSNR.
    assert table["half"]["seeds"] == "1"
    assert table["half"]["PSNR, dB"] == ""
    assert set(table["later"].values()) == {"later", ""}


def test_the_page_needs_no_other_file(folder):
    page = (folder / "report.html").read_text()
    assert "<h1>toy &amp; study: 5 variants side by side</h1>" in page
    assert "there is no checkpoint in &lt;there&gt;" in page
    assert page.count("<svg") == 3
    assert not re.findall(r'(?:src|href)="(?!#)', page)
    assert "<link" not in page
    assert "@import" not in page


def test_latex_has_equal_rows_and_escapes_names(folder):
    text = (folder / ablation_report.LATEX).read_text()
    found = re.findall(r"\\begin{tabular}{(l r*)}(.*?)\\end{tabular}".replace(" ", ""), text, re.S)
    assert len(found) == 4
    for columns, body in found:
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert rows[0].strip().startswith("variant")
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(columns) - 1}
        assert [rule in body for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [True] * 3
        assert not re.search(r"(?<!\\)[_%#$]", body)
    assert r"first\_one" in text
    outside = re.sub(r"\\begin{tabular}.*?\\end{tabular}", "", text, flags=re.S)
    assert all(line.startswith("%") for line in outside.splitlines() if line)


def test_the_numbers_need_no_parsing_of_text(folder):
    numbers = json.loads((folder / NUMBERS).read_text())
    assert numbers["origin"] == {"config": "toy"}
    assert numbers["command"]
    assert numbers["runs"] == json.loads(json.dumps(RESULTS))
    assert numbers["groups"] == {
        "targets": ["target_a", "target_b"], "held out": ["held_c"], "lite": ["lite"]
    }  # fmt: skip
    assert numbers["originals"]["held out"]["seeds"] == {"0": 0.75, "1": 0.875}
    second = numbers["variants"]["second"]
    assert second["changes"] == {"loss.target_psnr": 38.0}
    assert second["target_psnr"] == 38.0
    assert second["numbers"]["recovered_psnr"] == {
        "mean": pytest.approx(51.734), "least": 51.234, "most": 52.234,
        "seeds": {"0": 51.234, "1": 52.234},
    }  # fmt: skip
    difference = second["minus_first"]["targets"]
    assert difference["mean"] == -0.3125
    assert difference["clear"] is True
    assert difference["seeds"] == {"0": -0.25, "1": -0.375}
    assert second["minus_first"]["psnr"]["mean"] == -0.25
    assert numbers["variants"]["first_one"]["minus_first"] == {}
    assert numbers["variants"]["later"]["numbers"] == {}
    assert numbers["variants"]["half"]["minus_first"]["psnr"] is None


def test_nothing_measured_yet_is_a_report_too(tmp_path):
    ablation_report.write(study({"one": {}}, seeds=(0,)), tmp_path, [], {"config": "toy"})
    # A LaTeX table without rows has no columns, so that its head is an error.
    assert r"\begin{tabular}{}" not in (tmp_path / ablation_report.LATEX).read_text()
    found = tables(tmp_path)
    assert found["Protection"]["one"]["seeds"] == "not trained"
    # There is nothing to compare the only variant with.
    assert not any(heading.startswith("Difference") for heading in found)
