"""The benchmark of kills: what it takes for damage, and that it kills."""

import itertools
import json
import random
import sys

import pytest
import subprocess_timing
from absl.testing import flagsaver

from raeg_jax import cli
from raeg_jax.cli.manifest import NAME
from raeg_jax.cli.outputs import STAGING
from raeg_jax.errors import UserError
from raeg_jax.payload.key import write_key
from tests.benchmarks.loading import load_benchmark
from tests.cli import fake_codec
from tests.cli.conftest import KEY, pixels, save


@pytest.fixture(scope="module")
def kills():
    yield from load_benchmark("kills")


def test_moments_are_of_the_undisturbed_run_and_the_same_for_a_seed(kills):
    times = kills.Times(first=10.0, last=14.0)

    def drawn(seed):
        return list(itertools.islice(kills.moments(random.Random(seed), times), 400))

    early = [moment.seconds for moment in drawn(1) if moment.early]
    late = [moment.seconds for moment in drawn(1) if not moment.early]
    assert 0.2 < len(early) / 400 < 0.3
    for found, end in ((early, 10), (late, 4)):
        assert 0 <= min(found) < 0.1 * end
        assert 0.9 * end < max(found) <= end
    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


@pytest.fixture
def owner(tmp_path):
    """A folder with key, generator and originals."""
    write_key(tmp_path / "key", KEY)
    (tmp_path / "generator").write_bytes(b"generator 1")
    for index in range(6):
        save(tmp_path / "photos" / f"{index}.png", pixels(index))
    return tmp_path


@pytest.fixture
def ended(kills, owner, monkeypatch):
    """Two folders in which the tool has done its work."""
    fake_codec.install(monkeypatch.setattr)
    for name in ("one", "two"):
        places = [str(owner / "photos"), str(owner / name)]
        assert cli.main(["protect", *places, *owner_of(owner)]) == 0
    return owner / "one", owner / "two"


def owner_of(folder):
    return ["--key", str(folder / "key"), "--generator", str(folder / "generator")]


def test_what_a_kill_lost_changed_or_left_half_written_is_told(kills, ended):
    folder, _ = ended
    before = kills.look(folder).files
    assert sorted(before) == [f"{index}.png" for index in range(6)]
    assert kills.damages(folder, {}, before) == []
    (folder / "0.png").unlink()
    save(folder / "1.png", pixels(9))
    (folder / "new.png").write_bytes((folder / "2.png").read_bytes()[:-30])
    (folder / ".3.png.tmp").write_bytes(b"")
    found = kills.damages(folder, before, kills.look(folder).files)
    assert [line.split(":")[0] for line in found] == [
        "0.png is lost",
        ".3.png.tmp is not whole",
        "1.png has changed",
        "new.png is not whole",
    ]


def test_what_a_kill_hit_is_seen(kills, ended):
    folder, _ = ended
    whole = kills.look(folder)
    assert (whole.unfinished, whole.half, whole.claimed) == (0, 0, 0)
    (folder / STAGING).mkdir()
    for name in ("0.png", ".1.png.0123.tmp"):
        (folder / STAGING / name).write_bytes(b"")
    (folder / "5.png").unlink()
    left = kills.look(folder)
    assert (left.unfinished, left.half, left.claimed) == (2, 1, 1)
    # As a kill leaves the manifest: its last line counts only if it is whole.
    content = (folder / NAME).read_bytes()
    (folder / NAME).write_bytes(content[:-5])
    assert kills.claims(folder) == 5
    assert len(kills.entries(folder)) == 5


def test_folders_that_differ_in_nonces_alone_are_equal(kills, ended):
    one, two = ended
    assert kills.compare(one, two) == []
    lines = [json.loads(line) for line in (one / NAME).read_text().splitlines()]
    for line in lines[1:]:
        line["psnr"] += 0.1
    write_lines(one, lines)
    assert kills.compare(one, two) == []


def write_lines(folder, lines):
    (folder / NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_names_leftovers_and_entries_are_compared(kills, ended):
    one, two = ended
    lines = [json.loads(line) for line in (one / NAME).read_text().splitlines()]
    lines[1]["payload"] = "chunk"
    lines[2]["sha256"] = lines[3]["sha256"]
    write_lines(one, lines[:-1])
    (one / STAGING).mkdir()
    (one / "0.png").rename(one / "7.png")
    found = kills.compare(one, two)
    assert found[:2] == [
        "2 files are in one alone, such as 0.png",
        "unfinished files are left",
    ]
    sources = {line.split()[0].rstrip(":") for line in found[2:]}
    expected = {lines[1]["source"], lines[2]["source"], lines[-1]["source"], "0.png"}
    assert sources == expected


def test_recovered_files_are_compared_with_originals(kills, owner):
    jobs = [(owner / "photos" / f"{index}.png", f"{index}.png") for index in range(3)]
    for source, name in jobs[:2]:
        save(owner / "back" / name, pixels(int(source.stem)))
    image = pixels(1)
    image[3, 3, 0] ^= 4
    save(owner / "back" / "1.png", image)
    assert kills.wrong(jobs, owner / "back") == [
        "1.png is recovered with 1 wrong pixels",
        "2.png is not recovered",
    ]


TOOL = """
import hashlib, json, os, pathlib, shutil, sys, time
command, source, out = sys.argv[1], *map(pathlib.Path, sys.argv[2:4])
if command == "recover":
    shutil.copytree(source, out, ignore=shutil.ignore_patterns(*os.environ["FAULT"].split()))
    sys.exit()
(out / ".raeg-unfinished").mkdir(parents=True, exist_ok=True)
with open(out / ".raeg-manifest.jsonl", "a") as file:
    if not file.tell():
        file.write("{}\\n")
    for path in sorted(source.iterdir()):
        if (out / path.name).exists():
            continue
        time.sleep(0.05)
        staged = shutil.copy(path, out / ".raeg-unfinished")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entry = {"source": path.name, "output": path.name, "sha256": digest}
        file.write(json.dumps(entry) + "\\n")
        file.flush()
        os.rename(staged, out / path.name)
(out / ".raeg-unfinished").rmdir()
"""


def run(kills, folder, monkeypatch, fault=""):
    """Runs the benchmark with a tool that starts at once and copies images."""
    start = [sys.executable, "-S", "-c", TOOL]
    monkeypatch.setattr(subprocess_timing, "command", lambda *given: [*start, *map(str, given)])
    monkeypatch.setenv("FAULT", fault)
    # The benchmark sets it.
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    given = {name: str(folder / name) for name in ("key", "generator", "out")}
    given |= {"source": str(folder / "photos"), "kills": 4, "batch_size": 1}
    with flagsaver.flagsaver(**given):
        kills.main()


def results(folder):
    return json.loads((folder / "out" / "kills.json").read_text())


def test_runs_are_killed_and_go_on(kills, owner, monkeypatch):
    run(kills, owner, monkeypatch)
    found = results(owner)
    assert (found["images"], found["problems"]) == (6, [])
    assert found["undisturbed"]["first"] < found["undisturbed"]["last"]
    counts = found["kills"]
    assert counts["kills"] == 4
    assert counts.get("before its first output", 0) + counts["after its first output"] == 4
    assert counts["runs that ended"] == found["folders"] - 2 >= 1


def test_what_is_not_recovered_is_a_problem(kills, owner, monkeypatch):
    with pytest.raises(UserError, match=r"problems, such as: 0: 3\.png is not recovered"):
        run(kills, owner, monkeypatch, fault="3.png")
    found = results(owner)
    assert len(found["problems"]) == found["folders"]


def test_a_run_that_does_not_go_on_stops_it(kills, tmp_path):
    command = [sys.executable, "-c", "import sys; sys.exit('no way on')"]
    with pytest.raises(RuntimeError, match="ended with 1: no way on"):
        kills.run_until(command, tmp_path, tmp_path / "log", None, kills.claims)
