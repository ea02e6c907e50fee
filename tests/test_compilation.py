import os
import pathlib
import subprocess
import sys
import threading
import time
from unittest import mock

import jax
import pytest

from raeg_jax import compilation

PROGRAM = """
from raeg_jax import compilation
compilation.keep_programs()
import jax
hits = []
jax.monitoring.register_event_listener(lambda e, **_: hits.append(e) if "cache_hits" in e else None)
print(float(jax.jit(lambda x: 3 * x + 1)(2.0)), len(hits))
"""


@pytest.fixture
def environ(tmp_path):
    """The variables of a user who says nothing about compilation."""
    with mock.patch.dict(os.environ, RAEG_DATA=str(tmp_path / "data")):
        for name in list(os.environ):
            if name == compilation.VARIABLE or "COMPILATION_CACHE" in name:
                del os.environ[name]
        yield os.environ


def kept_in(*args):
    compilation.keep_programs(*args)
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    return folder and pathlib.Path(folder).parent


def test_programs_are_kept_beside_prepared_data_or_where_one_says(environ, tmp_path):
    assert kept_in() == tmp_path / "data" / "compiled"
    own = pathlib.Path(environ["JAX_COMPILATION_CACHE_DIR"])
    assert own.stat().st_mode & 0o777 == 0o700
    del environ["JAX_COMPILATION_CACHE_DIR"]
    assert kept_in(str(tmp_path / "other")) == tmp_path / "other" / "compiled"
    environ[compilation.VARIABLE] = str(tmp_path / "variable")
    assert kept_in() == tmp_path / "variable"
    assert kept_in("", str(tmp_path / "flag")) == tmp_path / "flag"


def test_programs_are_not_kept_where_one_says_so(environ):
    environ[compilation.VARIABLE] = "off"
    assert kept_in() is None
    assert environ["JAX_ENABLE_COMPILATION_CACHE"] == "0"


def test_what_jax_is_told_stays(environ):
    environ["JAX_COMPILATION_CACHE_DIR"] = "/some/where"
    compilation.keep_programs()
    assert environ["JAX_COMPILATION_CACHE_DIR"] == "/some/where"


def test_a_folder_that_others_may_write_to_or_that_is_none_is_not_used(environ, tmp_path):
    compilation.keep_programs()
    pathlib.Path(environ.pop("JAX_COMPILATION_CACHE_DIR")).chmod(0o777)
    assert kept_in() is None
    (tmp_path / "file").touch()
    assert kept_in("", str(tmp_path / "file")) is None


def test_programs_of_another_number_of_processors_are_others(environ, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    compilation.keep_programs()
    one = environ.pop("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    compilation.keep_programs()
    assert environ["JAX_COMPILATION_CACHE_DIR"] != one


def test_programs_that_were_not_used_for_the_longest_time_make_room(environ, monkeypatch):
    monkeypatch.setattr(compilation, "_LARGEST", 25)
    compilation.keep_programs()
    folder = pathlib.Path(environ["JAX_COMPILATION_CACHE_DIR"])
    for age, name in enumerate(("new", "used", "old")):
        (folder / name).write_bytes(bytes(10))
        os.utime(folder / name, (1e9 - age, 1e9 - (9 if name == "used" else age)))
    compilation.keep_programs("", str(folder.parent))
    assert sorted(file.name for file in folder.iterdir()) == ["new", "used"]


def test_the_next_process_finds_programs_and_damaged_ones_are_compiled_again(environ):
    environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

    def run():
        command = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.split()

    assert run() == ["7.0", "0"]
    assert run() == ["7.0", "1"]
    for file in pathlib.Path(environ["RAEG_DATA"]).rglob("*-cache"):
        file.write_bytes(file.read_bytes()[:-30])
    assert run() == ["7.0", "0"]


def test_compilation_is_told_while_it_lasts(monkeypatch):
    begun = []

    class Since(dict):
        def __setitem__(self, thread, since):
            super().__setitem__(thread, since)
            begun.append((thread, compilation.compiling()))

    monkeypatch.setattr(compilation, "_since", Since())
    monkeypatch.setattr(compilation, "_WORTH_TELLING", -1.0)
    assert not compilation.compiling()
    jax.jit(lambda x: x + time.monotonic())(1.0)
    assert begun == [(threading.get_ident(), True)]
    assert not compilation.compiling()
