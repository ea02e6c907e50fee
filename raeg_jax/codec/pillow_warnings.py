"""Keeping what Pillow warns of while a file is read, instead of showing it to the user."""

import contextlib
import os
import threading
import warnings
from collections.abc import Iterator

from PIL import Image

_FOLDER = os.path.dirname(Image.__file__)
_lock = threading.Lock()
# By thread, the warnings of the files that are being read.
_kept: dict[int, list[str]] = {}
_catching = contextlib.ExitStack()


@contextlib.contextmanager
def pillow_warnings() -> Iterator[list[str]]:
    """Collects the messages of Pillow's warnings in this thread while the block lasts.

    Python's `catch_warnings` catches those of all threads, which read files at the same time: so
    the first one in sets it, the last one out takes it back, and each gets its own. Warnings that
    aren't Pillow's are shown as ever. That of large images is dropped: they may be twice as large
    before Pillow refuses them.
    """
    thread = threading.get_ident()
    with _lock:
        if not _kept:
            _catch()
        outer, _kept[thread] = _kept.get(thread), (messages := [])
    try:
        yield messages
    finally:
        with _lock:
            if outer is None:
                del _kept[thread]
            else:
                _kept[thread] = outer
            if not _kept:
                _catching.close()


def _catch() -> None:
    _catching.enter_context(warnings.catch_warnings())
    warnings.filterwarnings("always", module=r"PIL\.")
    show = warnings.showwarning

    def keep(message, category, filename, lineno, file=None, line=None):
        messages = _kept.get(threading.get_ident())
        if messages is None or not filename.startswith(_FOLDER):
            show(message, category, filename, lineno, file, line)
        elif not issubclass(category, Image.DecompressionBombWarning):
            messages.append(" ".join(str(message).split()))

    warnings.showwarning = keep
