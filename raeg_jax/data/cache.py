"""The folder of prepared data."""

import contextlib
import pathlib
from collections.abc import Iterator

from ml_collections import ConfigDict

from raeg_jax import files
from raeg_jax.errors import UserError


def cache_folder(settings: ConfigDict) -> pathlib.Path:
    """`settings.cache_dir`, else $RAEG_DATA, else ~/.cache/raeg_jax."""
    return files.cache_folder(settings.cache_dir)


@contextlib.contextmanager
def writing_to(folder: pathlib.Path) -> Iterator[None]:
    """Explains what a block raises that does no more with files than to write below a folder.

    Args:
      folder: of the cache.

    Raises:
      UserError: the block raised an OSError, or the RuntimeError of ArrayRecord's writer.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"prepared data can't be written to {folder} ({error}); free space there and the same "
            "command resumes, or name another folder with --config.data.cache_dir=FOLDER"
        ) from error


@contextlib.contextmanager
def reading_from(folder: pathlib.Path) -> Iterator[None]:
    """Explains what a block raises that reads prepared data, which only damage can make fail.

    Args:
      folder: of the prepared data.

    Raises:
      UserError: the block raised an error of any kind.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise UserError(
            f"prepared data in {folder} are damaged ({str(error) or type(error).__name__}): remove "
            "that folder, and the same command prepares them again"
        ) from error
