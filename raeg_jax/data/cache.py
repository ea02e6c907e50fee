"""The folder of prepared data."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from ml_collections import ConfigDict

from raeg_jax.errors import UserError


def cache_folder(settings: ConfigDict) -> pathlib.Path:
    """`settings.cache_dir`, else $RAEG_DATA, else ~/.cache/raeg_jax."""
    chosen = settings.cache_dir or os.environ.get("RAEG_DATA") or "~/.cache/raeg_jax"
    return pathlib.Path(chosen).expanduser().absolute()


@contextlib.contextmanager
def writing_to(folder: pathlib.Path) -> Iterator[None]:
    """Explains an OSError of a block that does no more with files than to write below a folder.

    Args:
      folder: of the cache.

    Raises:
      UserError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"prepared data can't be written to {folder} ({error}); name another folder with "
            "--config.data.cache_dir=FOLDER"
        ) from error
