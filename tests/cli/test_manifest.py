import dataclasses
import errno
import hashlib
import json
import os

import pytest

from raeg_jax import lock
from raeg_jax.cli import manifest
from raeg_jax.cli.manifest import NAME, Entry, is_as_written, open_manifest
from raeg_jax.errors import UserError

SETTINGS = {"command": "protect", "key": "beef"}
ENTRY = Entry("11" * 32, "a.png", "00" * 32, 30, 40)
ODD = os.fsdecode(b"caf\xe9.png")


def fill(folder):
    with open_manifest(folder, SETTINGS) as one:
        one.claim({"a.jpg": (ENTRY, {"psnr": 40.5}), ODD: (ENTRY, {})})
        one.fail("b.jpg", "it is broken")
    return (folder / NAME).read_bytes()


def test_claims_are_remembered_and_failures_are_not(tmp_path):
    lines = fill(tmp_path / "new" / "out").splitlines()
    assert json.loads(lines[1])["psnr"] == 40.5
    assert json.loads(lines[3]) == {"source": "b.jpg", "failed": "it is broken"}
    with open_manifest(tmp_path / "new" / "out", SETTINGS) as again:
        assert again.get("a.jpg") == again.get(ODD) == ENTRY
        assert again.get("b.jpg") is None
    assert os.listdir(tmp_path / "new" / "out") == [NAME]


def test_the_last_claim_counts(tmp_path):
    later = dataclasses.replace(ENTRY, source_sha256="22" * 32)
    fill(tmp_path)
    with open_manifest(tmp_path, SETTINGS) as one:
        one.claim({"a.jpg": (later, {})})
        assert one.get("a.jpg") == later
    with open_manifest(tmp_path, SETTINGS) as again:
        assert again.get("a.jpg") == later


def test_a_torn_end_is_cut_off_wherever_it_is_torn(tmp_path):
    whole = fill(tmp_path)
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for length in {*range(0, len(whole), 13), *(end + i for end in ends for i in (-2, -1, 0, 1))}:
        (tmp_path / NAME).write_bytes(whole[:length])
        length = min(length, len(whole))
        with open_manifest(tmp_path, SETTINGS) as one:
            assert (one.get("a.jpg") is not None) == (length >= ends[1])
            one.claim({"c.jpg": (ENTRY, {})})
        lines = (tmp_path / NAME).read_bytes().splitlines(keepends=True)
        kept = max(1, sum(end <= length for end in ends))
        assert lines[:-1] == whole.splitlines(keepends=True)[:kept]
        assert json.loads(lines[-1])["source"] == "c.jpg"


@pytest.mark.parametrize(
    ("number", "line"),
    [(0, b"{}\n"), (0, b'{"raeg_manifest": 1}\n'), (1, b"junk\n"), (2, b'{"source": "a"}\n')],
)
def test_what_raeg_did_not_write_is_refused_and_left_as_it_is(tmp_path, number, line):
    lines = fill(tmp_path).splitlines(keepends=True)
    lines[number] = line
    (tmp_path / NAME).write_bytes(b"".join(lines))
    with pytest.raises(UserError, match=rf"line {number + 1}, is not what|another version"):
        open_manifest(tmp_path, SETTINGS).__enter__()
    assert (tmp_path / NAME).read_bytes() == b"".join(lines)


def test_other_settings_are_refused_with_the_way_out(tmp_path):
    fill(tmp_path)
    message = (
        "with key beef, and this run has cafe: resume with the same key, or name another folder"
    )
    with pytest.raises(UserError, match=message):
        open_manifest(tmp_path, SETTINGS | {"key": "cafe"}).__enter__()


def test_two_runs_at_a_time_are_refused(tmp_path):
    other = open_manifest(tmp_path, SETTINGS)
    with (
        open_manifest(tmp_path, SETTINGS),
        pytest.raises(UserError, match="another run is at work in"),
    ):
        other.__enter__()
    with open_manifest(tmp_path, SETTINGS):
        pass


def test_without_locks_no_run_writes_over_anothers_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(lock, "msvcrt", None)
    with open_manifest(tmp_path, SETTINGS) as one, open_manifest(tmp_path, SETTINGS) as other:
        for number in range(4):
            (one, other)[number % 2].claim({f"{number}.jpg": (ENTRY, {})})
    with open_manifest(tmp_path, SETTINGS) as again:
        assert [again.get(f"{number}.jpg") for number in range(4)] == [ENTRY] * 4


def test_what_could_not_be_written_leaves_no_torn_line(tmp_path, monkeypatch):
    whole = fill(tmp_path)

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_manifest(tmp_path, SETTINGS) as one:
        with monkeypatch.context() as patch:
            patch.setattr(manifest.os, "fsync", full)
            with pytest.raises(OSError, match="No space"):
                one.claim({"c.jpg": (ENTRY, {})})
        assert one.get("c.jpg") is None
        assert (tmp_path / NAME).read_bytes() == whole
        one.claim({"d.jpg": (ENTRY, {})})
    with open_manifest(tmp_path, SETTINGS) as again:
        assert again.get("d.jpg") == ENTRY


def test_an_output_is_known_by_its_time_or_else_by_its_content(tmp_path, monkeypatch):
    path, asked = tmp_path / "a.png", []

    def digest(asked_path):
        asked.append(asked_path)
        return hashlib.sha256(asked_path.read_bytes()).hexdigest()

    monkeypatch.setattr(manifest, "digest", digest)
    path.write_bytes(b"content")
    found = path.stat()
    right = hashlib.sha256(b"content").hexdigest()
    entry = Entry("11" * 32, "a.png", right, found.st_size, found.st_mtime_ns)
    assert is_as_written(path, entry) is True
    assert not asked
    os.utime(path, ns=(5, 5))
    assert is_as_written(path, entry) is True
    path.write_bytes(b"CONTENT")
    assert is_as_written(path, entry) is False
    assert len(asked) == 2
    path.write_bytes(b"more content")
    assert is_as_written(path, entry) is False
    path.write_bytes(b"")
    assert is_as_written(path, entry) is None
    path.unlink()
    assert is_as_written(path, entry) is None
    path.mkdir()
    assert is_as_written(path, entry) is False
