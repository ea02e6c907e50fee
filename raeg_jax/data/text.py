"""Texts of others, which may not be UTF-8."""

import pathlib

from raeg_jax.errors import UserError
from raeg_jax.files import read_file


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
