"""The folder of prepared data: errors there, and the digests of source files remembered in it."""

import contextlib
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Iterable, Iterator
from multiprocessing.pool import ThreadPool

from tqdm import tqdm

from raeg_jax.errors import UserError
from raeg_jax.files import MAX_BYTES, open_file, write_whole

# A file that was modified so shortly before it is read may change again without a change of its
# times: file systems count in steps of up to two seconds.
_SETTLED_NS = 2 * 10**9
DIGITS = 32
_BLOCK_BYTES = 2**18


@contextlib.contextmanager
def writing_to(folder: pathlib.Path) -> Iterator[None]:
    """Explains errors of a block that only writes files below a folder.

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
    """Explains errors of a block that only reads prepared data: they must be damaged.

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


def digest_of(content: bytes | memoryview) -> str:
    """Returns the digest of a file's content: `DIGITS` hexadecimal digits (BLAKE2b)."""
    return hashlib.blake2b(content, digest_size=DIGITS // 2).hexdigest()


def digests(
    paths: Iterable[pathlib.Path], memory: pathlib.Path, any_size: bool = False
) -> dict[pathlib.Path, str]:
    """Digests of whole files.

    Args:
      paths: of the files; each is read once, and not again as long as its size and times stay.
      memory: a JSON file that remembers digests from run to run; if it can't be read or written,
        files are read again.
      any_size: files may have more bytes than an image.

    Returns:
      `digest_of` the content of each path; '' for what can't be read, isn't a file, or has more
      bytes than an image, unless `any_size`.
    """
    known = _recall(memory)
    paths = list(dict.fromkeys(paths))
    with ThreadPool(min(os.cpu_count() or 1, 8)) as pool:
        in_order = pool.imap(lambda path: _digest(path, known, any_size), paths, chunksize=64)
        bar = tqdm(in_order, "reading the images", len(paths), unit="img", leave=False, delay=1)
        rows = dict(zip(paths, bar, strict=True))
    now = time.time_ns()
    settled = {
        os.path.abspath(path): row
        for path, row in rows.items()
        if row and max(row[1:3]) < now - _SETTLED_NS
    }
    if settled.items() - known.items():
        _remember(known | settled, memory)
    return {path: row[3] if row else "" for path, row in rows.items()}


def _digest(
    path: pathlib.Path, known: dict[str, tuple], any_size: bool
) -> tuple[int, int, int, str] | None:
    """(size, time of modification, time of change, digest); None if it can't be read."""
    try:
        status = path.stat()
        key = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        row = known.get(os.path.abspath(path))
        if row and row[:3] == key:
            return row
        if status.st_size > MAX_BYTES and not any_size:
            return None
        with open_file(path) as file:
            content = hashlib.blake2b(digest_size=DIGITS // 2)
            while block := file.read(_BLOCK_BYTES):
                content.update(block)
    except OSError:
        return None
    return (*key, content.hexdigest())


def _recall(memory: pathlib.Path) -> dict[str, tuple]:
    try:
        rows = json.loads(memory.read_text(encoding="utf-8"))
        return {path: (int(a), int(b), int(c), str(d)) for path, (a, b, c, d) in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _remember(rows: dict[str, tuple], memory: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_whole(memory, json.dumps(rows).encode())
