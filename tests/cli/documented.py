"""The table of bad input in docs/tool.md: which status each gets, and the message."""

import functools
import pathlib
import re

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "tool.md"
_ROW = re.compile(r"^\| ([^|`]+?) \| ([12]) \| (.+) \|$", re.MULTILINE)
# What stands for anything in a row: names in capitals, what is left out, and values of the example.
_ANY = re.compile(
    r"gs://bucket/out|OUT/FILE|FILE|SOURCE/NAME/VERSION|SOURCE|OUT|\b[KG]\b|\.\.\.|[0-9a-f]{16}|1a2b|3c4d|"
    r"output\.jpeg|a\.txt|(?<=are: )none|\d+"
)


@functools.cache
def rows() -> dict[str, tuple[int, str]]:
    """By what is wrong: the exit status, and a regular expression for the message."""
    found, pattern = {}, None
    for name, status, text in _ROW.findall(DOCS.read_text()):
        if text.startswith("as if "):
            others = text.removeprefix("as if ").split(", or as ")
            pattern = "|".join(found[other][1] for other in others)
        elif not text.startswith("the same"):
            pattern = ".*".join(map(re.escape, _ANY.split(text)))
        found[name] = int(status), pattern
    return found


def check(name: str, status: int, message: str) -> None:
    """Compares with what really happened; the message may be longer."""
    expected, pattern = rows()[name]
    assert status == expected
    assert re.match(f"(failed|error): ({pattern})", message), (message, pattern)
