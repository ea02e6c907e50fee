"""Names and texts of others, which may not be UTF-8."""

import pathlib
import re

from raeg_jax.errors import UserError
from raeg_jax.files import read_file

# Control characters, what else ends a line, and bytes that are not UTF-8, which Python keeps as
# lone surrogates.
_UNPRINTABLE = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")


def printable(name: str) -> str:
    r"""The name of a file as text of one line that can be written anywhere.

    A newline becomes '\n', a byte that is not UTF-8 '\udcXX', and so on. Any other name stays as it
    is.
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), name)


def read_text(path: pathlib.Path) -> str:
    """Reads a text file in UTF-8, with or without a byte-order mark.

    Raises:
      UserError: it is in another encoding, holds a NUL, or can't be read.
    """
    try:
        content = read_file(path)
        if b"\0" in content:
            line = content.count(b"\n", 0, content.index(b"\0")) + 1
            raise UserError(f"{path}, line {line}: there is a NUL, so it is not a text: check it")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: byte {error.object[error.start]:#04x} is not UTF-8 text; save "
            "the file as UTF-8"
        ) from error
    except OSError as error:
        raise UserError(f"{path} can't be read ({error})") from error
