"""Paths that are URLs."""

import pickle

import fsspec
import pytest

from raeg_jax import remote
from raeg_jax.errors import UserError
from raeg_jax.remote import RemotePath, locate


@pytest.fixture
def system():
    system = fsspec.filesystem("memory", use_listings_cache=False)
    yield system
    system.rm("memory://here", recursive=True)


def content(path):
    with path.open_copy() as file:
        return file.read()


def test_a_path_keeps_its_url():
    path = RemotePath("s3://bucket/a") / "b/c.png"
    assert str(path) == f"{path}" == "s3://bucket/a/b/c.png"
    assert (path.name, path.suffix, str(path.parent)) == ("c.png", ".png", "s3://bucket/a/b")
    assert path.is_relative_to(RemotePath("s3://bucket/a"))
    assert str(pickle.loads(pickle.dumps(path))) == str(path)
    assert {path: 1}[RemotePath(str(path))] == 1


def test_each_path_reads_what_was_there_first(system):
    system.pipe_file("memory://here/a", b"one")
    path = locate("memory://here/a")
    assert isinstance(path, RemotePath)
    assert content(path) == b"one"
    system.pipe_file("memory://here/a", b"two")
    assert content(path) == b"one"
    assert content(RemotePath(str(path))) == b"two"


def test_copies_make_room_for_others_and_are_fetched_again(system, monkeypatch):
    monkeypatch.setattr(remote, "_COPIES_BYTES", 25)
    paths = [RemotePath(f"memory://here/{number}") for number in range(4)]
    for path in paths:
        system.pipe_file(str(path), bytes(10))
    assert [len(content(path)) for path in paths] == [10] * 4
    system.pipe_file(str(paths[0]), bytes(50))
    system.pipe_file(str(paths[3]), bytes(50))
    # The last one is still here; a larger one than all room is let in.
    assert len(content(paths[3])) == 10
    assert len(content(paths[0])) == 50


def test_errors_have_numbers_and_names(system):
    system.pipe_file("memory://here/a", b"")
    with pytest.raises(FileNotFoundError, match="memory://here/none"):
        RemotePath("memory://here/none").open_copy()
    assert RemotePath("memory://here/none").size() is None
    assert RemotePath("memory://here/none").listed() == ([], [])
    with pytest.raises(UserError, match="unknown kind"):
        locate("nowhere://a")
