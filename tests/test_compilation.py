import ctypes
import io
import os
import pathlib
import subprocess
import sys
import threading
import time
from unittest import mock

import jax
import numpy as np
import pytest

from raeg_jax import compilation
from raeg_jax.compilation import ProgressBar

PROGRAM = """
from raeg_jax import compilation
compilation.enable_cache()
import jax
hits = []
jax.monitoring.register_event_listener(lambda e, **_: hits.append(e) if "cache_hits" in e else None)
print(float(jax.jit(lambda x: 3 * x + 1)(2.0)), len(hits))
"""


@pytest.fixture
def environ(tmp_path):
    """Variables of the environment, none of them about compilation."""
    with mock.patch.dict(os.environ, RAEG_DATA=str(tmp_path / "data")):
        for name in list(os.environ):
            if name == compilation.CACHE_VARIABLE or "COMPILATION_CACHE" in name:
                del os.environ[name]
        yield os.environ


def cache_folder_of(*args):
    compilation.enable_cache(*args)
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    return folder and pathlib.Path(folder).parent


def test_programs_are_cached_beside_prepared_data_or_in_the_chosen_folder(environ, tmp_path):
    assert cache_folder_of() == tmp_path / "data" / "compiled"
    folder = pathlib.Path(environ["JAX_COMPILATION_CACHE_DIR"])
    assert folder.stat().st_mode & 0o777 == 0o700
    del environ["JAX_COMPILATION_CACHE_DIR"]
    assert cache_folder_of(str(tmp_path / "other")) == tmp_path / "other" / "compiled"
    environ[compilation.CACHE_VARIABLE] = str(tmp_path / "variable")
    assert cache_folder_of() == tmp_path / "variable"
    assert cache_folder_of("", str(tmp_path / "flag")) == tmp_path / "flag"


def test_the_cache_can_be_turned_off(environ):
    environ[compilation.CACHE_VARIABLE] = "off"
    assert cache_folder_of() is None
    assert environ["JAX_ENABLE_COMPILATION_CACHE"] == "0"


def test_jax_s_own_variable_wins(environ):
    environ["JAX_COMPILATION_CACHE_DIR"] = "/some/where"
    compilation.enable_cache()
    assert environ["JAX_COMPILATION_CACHE_DIR"] == "/some/where"


def test_a_file_or_a_folder_that_others_may_write_to_is_not_used(environ, tmp_path):
    compilation.enable_cache()
    pathlib.Path(environ.pop("JAX_COMPILATION_CACHE_DIR")).chmod(0o777)
    assert cache_folder_of() is None
    (tmp_path / "file").touch()
    assert cache_folder_of("", str(tmp_path / "file")) is None


def test_the_folder_depends_on_the_number_of_processors(environ, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    compilation.enable_cache()
    folder = environ.pop("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    compilation.enable_cache()
    assert environ["JAX_COMPILATION_CACHE_DIR"] != folder


def test_the_least_recently_used_programs_are_deleted(environ, monkeypatch):
    monkeypatch.setattr(compilation, "_MAX_CACHE_BYTES", 25)
    compilation.enable_cache()
    folder = pathlib.Path(environ["JAX_COMPILATION_CACHE_DIR"])
    for age, name in enumerate(("new", "used", "old")):
        (folder / name).write_bytes(bytes(10))
        os.utime(folder / name, (1e9 - age, 1e9 - (9 if name == "used" else age)))
    compilation.enable_cache("", str(folder.parent))
    assert sorted(file.name for file in folder.iterdir()) == ["new", "used"]


def test_the_next_process_reads_programs_and_compiles_damaged_ones_again(environ):
    environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

    def run():
        command = [sys.executable, "-c", PROGRAM]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        assert result.stderr == ""
        return result.stdout.split()

    assert run() == ["7.0", "0"]
    assert run() == ["7.0", "1"]
    for file in pathlib.Path(environ["RAEG_DATA"]).rglob("*-cache"):
        file.write_bytes(file.read_bytes()[:-30])
    assert run() == ["7.0", "0"]


def test_compilation_is_known_while_it_lasts(monkeypatch):
    seen = []

    class Started(dict):
        def __setitem__(self, thread, time):
            super().__setitem__(thread, time)
            seen.append((thread, compilation.is_compiling()))

    monkeypatch.setattr(compilation, "_started", Started())
    monkeypatch.setattr(compilation, "_MIN_SHOWN_SECONDS", -1.0)
    assert not compilation.is_compiling()
    jax.jit(lambda x: x + time.monotonic())(1.0)
    assert seen == [(threading.get_ident(), True)]
    assert not compilation.is_compiling()
    # Nobody compiles what is only lowered: the next compilation ends it.
    jax.jit(lambda x: x - time.monotonic()).lower(1.0)
    assert compilation.is_compiling()
    jax.jit(lambda x: x * time.monotonic())(1.0)
    assert not compilation.is_compiling()


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
    monkeypatch.setattr(compilation, "_REFRESH_SECONDS", 0.01)


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


def test_memory_is_released_where_the_c_library_can_and_nothing_fails_elsewhere(monkeypatch):
    def resident():
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1])

    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("another C library than glibc")
    # Many small arrays, which the allocator keeps when they are freed, but for the last one.
    kept = [np.ones(2**12) for _ in range(2**13)]
    kept[:-1] = []
    before = resident()
    compilation.release_memory()
    assert resident() < before
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    compilation.release_memory()


@pytest.mark.parametrize(
    ("seconds", "text"), [(40, "40 s"), (700, "12 min"), (7500, "2 h 05 min"), (3600, "1 h 00 min")]
)
def test_durations(seconds, text):
    assert compilation.duration(seconds) == text
