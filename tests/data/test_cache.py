"""Digests of contents, and when they are taken from memory."""

import json
import os
import time

import pytest

from raeg_jax.data import cache as digests_lib
from raeg_jax.data.cache import digests


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Three files, two of them equal; files count as settled at once."""
    monkeypatch.setattr(digests_lib, "_SETTLED_NS", -1)
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path, content in zip(paths, (b"one", b"one", b"two"), strict=True):
        path.write_bytes(content)
    return paths


@pytest.fixture
def memory(tmp_path):
    return tmp_path / "cache" / "digests.json"


def test_equal_contents_have_equal_digests(files, memory):
    found = digests(files, memory)
    assert list(found) == files
    assert found[files[0]] == found[files[1]] != found[files[2]]
    assert all(len(digest) == 32 for digest in found.values())


def test_what_has_not_changed_is_not_read_again(files, memory):
    first = digests(files, memory)
    rows = json.loads(memory.read_text())
    for row in rows.values():
        row[3] = "remembered"
    memory.write_text(json.dumps(rows))
    assert set(digests(files, memory).values()) == {"remembered"}
    # Equal size and time of modification don't hide another content.
    times = files[0].stat()
    time.sleep(0.02)  # the clock of a file system ticks in milliseconds
    files[0].write_bytes(b"six")
    os.utime(files[0], ns=(times.st_atime_ns, times.st_mtime_ns))
    found = digests(files, memory)
    assert found[files[0]] not in ("remembered", first[files[0]])
    assert found[files[1]] == "remembered"


def test_fresh_files_are_not_remembered(files, memory, monkeypatch):
    monkeypatch.undo()
    digests(files, memory)
    assert not memory.exists()


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": [1, 2]}'])
def test_a_damaged_memory_is_forgotten(files, memory, content):
    memory.parent.mkdir()
    memory.write_text(content)
    assert digests(files, memory) == digests(files, memory)
    assert len(json.loads(memory.read_text())) == 3


def test_what_cannot_be_read_or_written_is_no_error(files, memory):
    memory.parent.write_text("in the way")
    files[1].unlink()
    assert digests(files, memory)[files[1]] == ""
