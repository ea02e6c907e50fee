"""How a report is written: a page that needs no other file, tables in Markdown, numbers in JSON."""

import html
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from raeg_jax.experiments.tables import Table, markdown
from raeg_jax.files import json_bytes, write_whole

PAGE, TABLES_FILE, NUMBERS = "report.html", "report.md", "report.json"
_STYLE = """
body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }
table { border-collapse: collapse; font-size: 13px; } .wide { overflow-x: auto; }
th, td { border: 1px solid #ccc; padding: 2px 8px; text-align: right; }
th:first-child, td:first-child { text-align: left; } th { background: #f3f3f3; }
pre { background: #f7f7f7; padding: 1em; white-space: pre-wrap; overflow-wrap: anywhere; }
svg, img { max-width: 100%; }
"""


class Section(NamedTuple):
    """A part of a report.

    Attributes:
      table: its title is the heading.
      plots: SVG, above the table of the page.
    """

    table: Table
    plots: Sequence[str] = ()


def write_report(
    folder: pathlib.Path,
    title: str,
    sections: Sequence[Section],
    numbers: Mapping[str, Any],
    introduction: Sequence[str] = (),
) -> pathlib.Path:
    """Writes the three files of a report.

    Args:
      folder: of the report.
      title: of page and tables.
      sections: in order.
      numbers: what JSON can hold; its `command` and `origin` stand on the page, too.
      introduction: HTML above the sections of the page.

    Returns:
      The page.
    """
    command = numbers["command"]
    lines = [f"# {title}", "", f"`{command}`", ""]
    lines += [line for section in sections for line in markdown(section.table)]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<pre>{html.escape(command)}</pre>",
        *introduction,
        *map(_html, sections),
        "<details><summary>Settings and versions</summary>",
        f"<pre>{html.escape(json.dumps(numbers['origin'], indent=2))}</pre></details>",
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )
    write_whole(folder / NUMBERS, json_bytes(numbers))
    write_whole(folder / TABLES_FILE, "\n".join(lines).encode())
    write_whole(folder / PAGE, page.encode())
    return folder / PAGE


def _html(section: Section) -> str:
    table = section.table
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in table.rows
    )
    return "\n".join(
        [
            f"<h2>{html.escape(table.title)}</h2>",
            f"<p>{html.escape(table.note)}</p>",
            *section.plots,
            f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>',
        ]
    )
