"""The notebook: its script runs, and the notebook was rendered from it."""

import json
import pathlib
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import pytest

import raeg_jax
from tests.protection import generators

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = ROOT / "examples" / "protect_and_recover.py"
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
