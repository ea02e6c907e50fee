"""The report of a suite: a page that needs no other file, the tables in Markdown, all in JSON."""

import base64
import html
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raeg_jax import process
from raeg_jax.data.decode import encode_png
from raeg_jax.data.memory import spread
from raeg_jax.evaluation.grid import grid
from raeg_jax.experiments.plots import PLOTS
from raeg_jax.experiments.subject import Subject
from raeg_jax.experiments.tables import TABLES, Table
from raeg_jax.files import json_bytes, write_whole

PAGE, TABLES_FILE, NUMBERS = "report.html", "report.md", "report.json"
_PICTURES = 6
_STYLE = """
body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }
table { border-collapse: collapse; font-size: 13px; } .wide { overflow-x: auto; }
th, td { border: 1px solid #ccc; padding: 2px 8px; text-align: right; }
th:first-child, td:first-child { text-align: left; } th { background: #f3f3f3; }
pre { background: #f7f7f7; padding: 1em; white-space: pre-wrap; overflow-wrap: anywhere; }
svg, img { max-width: 100%; }
"""


def write(
    folder: pathlib.Path,
    title: str,
    sample: np.ndarray,
    found: Mapping[str, Mapping[str, Mapping[str, Any]]],
    origin: Mapping[str, Any],
    tables: Mapping[str, Table],
    pictures: Mapping[str, Sequence[str]],
) -> pathlib.Path:
    """Writes the report of what was measured so far.

    Args:
      folder: of the results.
      title: of the page.
      sample: images to look at, uint8 [H, W, 3].
      found: for each experiment what the store keeps of its units, by name.
      origin: what the numbers come from.
      tables: of experiments, or of several together.
      pictures: SVG to stand above a table, by the table's name.

    Returns:
      The page.
    """
    command = process.shell_command()
    numbers = {"command": command, "origin": origin, "experiments": found}
    write_whole(folder / NUMBERS, json_bytes(numbers))
    write_whole(folder / TABLES_FILE, markdown(title, command, tables.values()).encode())
    shown = base64.b64encode(encode_png(sample)).decode()
    write_whole(folder / PAGE, page(title, command, origin, tables, pictures, shown).encode())
    return folder / PAGE


def of_suite(
    folder: pathlib.Path,
    subject: Subject,
    found: Mapping[str, Mapping[str, Mapping[str, Any]]],
    origin: Mapping[str, Any],
) -> pathlib.Path:
    """Writes the report of a suite, see `write`."""
    found = {name: own for name, own in found.items() if own}
    results = {name: [entry["result"] for entry in own.values()] for name, own in found.items()}
    return write(
        folder,
        f"{origin['config']}: what the protection is worth",
        pictures_of(subject),
        found,
        origin,
        tables={name: TABLES[name](own) for name, own in results.items()},
        pictures={
            name: [plot(own, subject.targets) for plot in PLOTS.get(name, ())]
            for name, own in results.items()
        },
    )


def pictures_of(subject: Subject) -> np.ndarray:
    """Some unseen images: original, protected, their difference times ten, recovered."""
    originals, labels = subject.originals("test")
    made, size = subject.protected("test"), subject.batch_size("test")
    chosen = spread(labels, min(_PICTURES, size))
    index = np.resize(chosen, size).astype(np.int32)
    code = subject.code_of(made, index)
    recovered = subject.recover(index, made.images[index], code)[: len(chosen)]
    captions = [[subject.splits.class_names[labels[i]]] for i in chosen]
    return grid(originals[chosen], made.images[chosen], recovered, captions)


def markdown(title: str, command: str, tables) -> str:
    """All tables."""
    lines = [f"# {title}", "", f"`{command}`", ""]
    for table in tables:
        lines += [f"## {table.title}", "", table.note, "", "| " + " | ".join(table.head) + " |"]
        lines += ["|---|" + "---:|" * (len(table.head) - 1)]
        lines += ["| " + " | ".join(row) + " |" for row in table.rows] + [""]
    return "\n".join(lines)


def page(
    title: str,
    command: str,
    origin: Mapping[str, Any],
    tables: Mapping[str, Table],
    pictures: Mapping[str, Sequence[str]],
    sample: str,
) -> str:
    """The page, with pictures inside."""
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<pre>{html.escape(command)}</pre>",
        "<p>Unseen images; differences times ten.</p>",
        f'<img src="data:image/png;base64,{sample}" alt="images">',
    ]
    for name, table in tables.items():
        parts += [f'<h2 id="{name}">{html.escape(table.title)}</h2>']
        parts += [f"<p>{html.escape(table.note)}</p>", *pictures.get(name, ())]
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.head)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in table.rows
        )
        parts += [f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>']
    settings = html.escape(json.dumps(origin, indent=2))
    parts += [f"<details><summary>Settings and versions</summary><pre>{settings}</pre></details>"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )
