"""`kill -9` at any moment: nothing is lost or half-written, and the same command resumes."""

import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from raeg_jax.cli.manifest import NAME
from raeg_jax.image_file.read import read_image_file
from raeg_jax.payload.key import write_key
from tests.cli import datasets
from tests.cli.conftest import KEY, files, pixels, save

ROOT = pathlib.Path(__file__).parents[2]
KILLS = 4
# Without room for a payload, which takes time to find out.
TINY = datasets.encoded(pixels(0, 4, 4))


def start(script, *arguments, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "cli" / script), *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out


@pytest.fixture
def owner(tmp_path):
    write_key(tmp_path / "key", KEY)
    (tmp_path / "generator").write_bytes(b"generator 1")
    return ["--key", tmp_path / "key", "--generator", tmp_path / "generator"]


def assert_same_outputs(folder, expected):
    names = files(expected)
    assert files(folder) == names
    for name in names:
        if name != NAME:
            assert (folder / name).read_bytes() == (expected / name).read_bytes()
    last = {}
    for line in (folder / NAME).read_text().splitlines()[1:]:
        entry = json.loads(line)
        last[entry["source"]] = entry
    assert len(last) == len(names) - 1
    for entry in last.values():
        content = (folder / entry["output"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]


def test_a_run_that_is_killed_again_and_again_ends_as_an_undisturbed_one(tmp_path, owner):
    for number in range(30):
        name = f"{number % 3}/{number}.png"
        save(tmp_path / "photos" / name, pixels(number, 24, 24 + number % 2))
    command = ["fake_codec.py", "protect", tmp_path / "photos"]
    options = [*owner, "--batch-size", "4"]
    finish(start(*command, tmp_path / "undisturbed", *options))
    out, moments = tmp_path / "out", random.Random(0)
    done = []
    for _ in range(KILLS):
        process = start(*command, out, *options, SECONDS_A_BATCH="0.02")
        # From the moment at which it is at work, however busy the machine is.
        while not (out / ".raeg-unfinished").exists() and process.poll() is None:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.15))
        process.kill()
        process.communicate()
        for name in files(out):
            if not name.startswith("."):
                read_image_file(out / name)
        done.append(sum(not name.startswith(".") for name in files(out)))
    assert done == sorted(done)
    finish(start(*command, out, *options))
    assert_same_outputs(out, tmp_path / "undisturbed")


def test_a_kill_at_any_operation_on_the_disk_loses_nothing(tmp_path, owner):
    for number in range(2):
        # Too small to have room for a payload, which takes time to find out.
        save(tmp_path / "photos" / str(number) / "a.png", pixels(number, 4, 4))
    moments = int(finish(start("kill_points.py", tmp_path, tmp_path / "photos")).splitlines()[-1])
    # Makes a folder for each, waits for each file and the lines of all, names each, and more.
    assert moments > 12
    finish(start("fake_codec.py", "protect", tmp_path / "photos", tmp_path / "undisturbed", *owner))
    left = set()
    for moment in range(1, moments + 1):
        assert_same_outputs(tmp_path / f"out{moment}", tmp_path / "undisturbed")
        left.add(len((tmp_path / f"left{moment}").read_text().splitlines()))
    # Kills found all sorts of states: from nothing at all to everything and leftovers.
    assert len(left) > 3


def test_a_kill_of_shards_or_of_merging_them_loses_nothing(tmp_path, owner):
    for name in ("a", "b"):
        save(tmp_path / "photos" / f"{name}.png", pixels(0, 4, 4))
    script = start("kill_points.py", tmp_path, tmp_path / "photos", "1")
    moments = int(finish(script).splitlines()[-1])
    assert moments > 15
    finish(start("fake_codec.py", "protect", tmp_path / "photos", tmp_path / "undisturbed", *owner))
    for moment in range(1, moments + 1):
        assert_same_outputs(tmp_path / f"out{moment}", tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_kill_while_a_data_set_is_made_leaves_none_or_a_whole_one(tmp_path, owner):
    features = {"image": datasets.FEATURES["image"]}
    source = datasets.prepare(tmp_path / "data", {"train": [[{"image": TINY}]] * 2}, features)
    moments = int(finish(start("kill_points.py", tmp_path, source)).splitlines()[-1])
    # Waits for each shard and each of the files that describe them, names each, and more.
    assert moments > 15
    undisturbed = tmp_path / "undisturbed"
    finish(start("fake_codec.py", "protect", source, undisturbed, *owner))
    whole = set(files(undisturbed))
    left = set()
    for moment in range(1, moments + 1):
        assert_same_outputs(tmp_path / f"out{moment}", undisturbed)
        names = (tmp_path / f"left{moment}").read_text().splitlines()
        assert "dataset_info.json" not in names or set(names) >= whole
        left.add(len(names))
    assert len(left) > 3


@pytest.mark.parametrize(
    ("number", "status", "reported"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 75, "stopped by SIGTERM")],
)
def test_a_signal_is_reported_and_leaves_nothing_behind(tmp_path, owner, number, status, reported):
    for seed in range(40):
        save(tmp_path / "photos" / f"{seed}.png", pixels(seed))
    out = tmp_path / "out"
    command = ["protect", tmp_path / "photos", out, *owner, "--batch-size", "1"]
    process = start("fake_codec.py", *command, SECONDS_A_BATCH="0.1")
    while not list(out.glob("*.png")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == status, err
    last = err.splitlines()[-1]
    done = len(list(out.glob("*.png")))
    assert last == (
        f"{reported}: {done} of 40 images done, and the same command resumes from there"
    )
    assert "Traceback" not in err
    assert not (out / ".raeg-unfinished").exists()
