import io
import threading

import pytest

from raeg_jax import bar as bar_lib
from raeg_jax import compilation
from raeg_jax.bar import ProgressBar


class Terminal(io.StringIO):
    """Records its text; `drawn` is set each time."""

    def __init__(self, is_terminal=True):
        super().__init__()
        self.is_terminal, self.drawn = is_terminal, threading.Event()

    def isatty(self):
        return self.is_terminal

    def write(self, text):
        self.drawn.set()
        return super().write(text)

    def next(self):
        """What is drawn next."""
        self.seek(0)
        self.truncate()
        for _ in range(2):  # the first may have started before
            self.drawn.clear()
            assert self.drawn.wait(30)
        return self.getvalue()


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(bar_lib, "_REFRESH_SECONDS", 0.01)


def test_the_bar_ticks_and_says_when_jax_compiles(monkeypatch):
    terminal, compiling = Terminal(), threading.Event()
    monkeypatch.setattr(compilation, "is_compiling", compiling.is_set)
    with ProgressBar(total=3, desc="protected", file=terminal) as bar:
        assert "compiling" not in terminal.next()
        compiling.set()
        terminal.next()
        assert "protected: compiling:" in terminal.next()
        bar.set_description("compiling the step")
        terminal.next()
        assert "compiling the step: " in terminal.next()
        compiling.clear()
        bar.set_description("protected")
        terminal.next()
        assert "compiling" not in terminal.next()
        bar.update(3)
    assert terminal.getvalue().endswith("\n")
    assert bar_threads() == []


def test_a_log_file_gets_no_ticks():
    with ProgressBar(total=3, file=Terminal(is_terminal=False)), ProgressBar(total=3, disable=True):
        assert bar_threads() == []


def bar_threads():
    threads = [thread for thread in threading.enumerate() if thread.name == "raeg-bar"]
    for thread in threads:
        thread.join(1)
    return [thread for thread in threads if thread.is_alive()]
