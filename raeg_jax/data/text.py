"""Names and texts of others, which may not be UTF-8."""

import pathlib

from raeg_jax.errors import UserError


def printable(name: str) -> str:
    r"""The name of a file as text that can be written anywhere.

    Bytes that are not UTF-8, which Python keeps as lone surrogates, become '\udcXX'. Any other
    name stays as it is.
    """
    return name.encode("utf-8", "backslashreplace").decode()


def read_text(path: pathlib.Path) -> str:
    """Reads a text file in UTF-8, with or without a byte-order mark.

    Raises:
      UserError: it is in another encoding, or can't be read.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: byte {error.object[error.start]:#04x} is not UTF-8 text; save "
            "the file as UTF-8"
        ) from error
    except OSError as error:
        raise UserError(f"{path} can't be read ({error})") from error
