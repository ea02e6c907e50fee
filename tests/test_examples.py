"""The notebook's script and the page on couplings: their code runs.

The notebook was rendered from the script, and the page's tables are those of the registries.
"""

import json
import os
import pathlib
import re
import runpy
import shlex
import subprocess
import sys

import matplotlib.pyplot as plt
import pytest

import configs
import raeg_jax
from raeg_jax.config.validate import validate
from raeg_jax.generator.conditioner import CONDITIONERS
from raeg_jax.generator.coupling import CLAMPINGS, COUPLINGS
from raeg_jax.generator.mixing import MIXINGS
from raeg_jax.workdir.study import study_runs
from tests.protection import generators

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = ROOT / "examples" / "protect_and_recover.py"
COUPLINGS_PAGE = (ROOT / "docs" / "couplings.md").read_text()
# Smaller values of the script's settings; the toy generator has three classes.
SMALL = {
    "CLASSES": repr(("astronaut", "chelsea", "coffee")),
    "TRAIN, TEST": "2, 1",
    "TARGET_STEPS, PIRATE_STEPS": "1, 1",
}


def test_the_script_recovers_every_bit(monkeypatch, capsys):
    commands = []

    def run(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "done\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(raeg_jax, "load_generator", lambda path: generators.quick(), raising=False)
    source = SCRIPT.read_text()
    for name, value in SMALL.items():
        source, found = re.subn(rf"^{name} = [^#\n]*", f"{name} = {value}  ", source, flags=re.M)
        assert found == 1, name
    exec(compile(source, str(SCRIPT), "exec"), {"__name__": "example"})
    plt.close("all")
    output = capsys.readouterr().out
    assert "3 of 3 images are equal to their originals in every bit" in output
    assert re.search(r"^another key: WrongKeyError", output, re.M)
    assert output.count("\ntrained on ") == 2

    train, export = commands
    assert train[1:4] == ["-m", "raeg_jax", "train"]
    assert export[1:4] == ["-m", "raeg_jax", "export"]
    monkeypatch.undo()
    # All of its settings exist: only the one that is added here is an error.
    result = subprocess.run([*train, "--config.x=1"], text=True, capture_output=True, check=False)
    assert "error: --config.x: there is no such setting" in result.stderr


@pytest.mark.slow
def test_the_script_runs_as_it_is():
    result = subprocess.run([sys.executable, SCRIPT], text=True, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    accuracies = re.findall(r"(\d\.\d\d) on originals, (\d\.\d\d) on protected", result.stdout)
    assert len(accuracies) == 2
    for original, protected in accuracies:
        assert float(protected) < float(original) / 2


def test_the_notebook_is_rendered_from_the_script():
    cells = re.split(r"^# %%.*\n", SCRIPT.read_text(), flags=re.M)[1:]
    path = SCRIPT.with_suffix(".ipynb")
    notebook = json.loads(path.read_text())["cells"]
    assert len(notebook) == len(cells)
    for text, cell in zip(cells, notebook, strict=True):
        if cell["cell_type"] == "markdown":
            text = re.sub(r"^# ?", "", text, flags=re.M)
        assert "".join(cell["source"]).strip() == text.strip()
        assert all(output["output_type"] != "error" for output in cell.get("outputs", ()))
    assert path.stat().st_size < 300_000


def table(title):
    """Rows of a table of the page on couplings, by the name in their first cell."""
    rows = COUPLINGS_PAGE.split(f"\n| {title} |")[1].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split(" |")] for row in rows]
    return {first.strip("`"): others for first, *others in cells}


def test_the_page_on_couplings_has_all_of_the_registries():
    yes = {True: "yes", False: "no"}
    assert {name: row[2:] for name, row in table("coupling").items()} == {
        name: [yes[variant.exact], "kept" if variant.preserves_volume else "changes"]
        for name, variant in COUPLINGS.items()
    }
    assert {name: row[2] for name, row in table("mixing").items()} == {
        name: yes[mixing.exact] for name, mixing in MIXINGS.items()
    }
    assert {name: row[2] for name, row in table("conditioner").items()} == {
        name: yes[conditioner.has_fixed_point] for name, conditioner in CONDITIONERS.items()
    }
    assert list(table("clamping")) == list(CLAMPINGS)


@pytest.fixture
def couplings_of_the_page(tmp_path):
    """A folder with the page's files, each named in its first line."""
    for block in re.findall(r"```python\n(.*?)```", COUPLINGS_PAGE, re.DOTALL):
        (tmp_path / block.split()[1]).write_text(block)
    return tmp_path


def test_the_couplings_of_the_page_pass_the_suite_of_all_couplings(couplings_of_the_page):
    """By the command of the page."""
    command = re.search(r"^    python (-m pytest -p .*)$", COUPLINGS_PAGE, re.MULTILINE)[1]
    result = subprocess.run(
        [sys.executable, *shlex.split(command), "-n", "0"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(couplings_of_the_page)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert result.stdout.count(".") > 10


def test_the_study_of_the_page_is_possible(couplings_of_the_page, monkeypatch):
    # As `command_line` does with the folder of a config.
    monkeypatch.setattr(configs, "__path__", [str(couplings_of_the_page), *configs.__path__])
    added = ("leaky", "spline")
    for name in added:
        # Its import registers it, and the end of the test takes it out again.
        monkeypatch.setitem(COUPLINGS, name, None)
        monkeypatch.setitem(sys.modules, f"configs.{name}", None)
        del sys.modules[f"configs.{name}"]
    config = runpy.run_path(str(couplings_of_the_page / "my_study.py"))["get_config"]()
    runs = study_runs(config, couplings_of_the_page)
    for run in runs:
        validate(run.config)
    assert {run.config.generator.coupling for run in runs} == {"glow", *added}
