"""The engine of `--engine ray`, with what stands for Ray, and where Ray is installed with that."""

import contextlib
import importlib.util
import os
import pathlib
import re
import signal
import sys
import time

import pytest

from raeg_jax.cli.manifest import NAME
from raeg_jax.cli.outputs import STAGING
from raeg_jax.scale import ray_workers
from tests.cli import datasets, tars
from tests.cli.conftest import files, pixels, save
from tests.cli.fake_codec import BROKEN
from tests.cli.test_killed import assert_same_outputs, finish, owner, start
from tests.scale.fake_ray import FakeRay

__all__ = ["owner"]


@pytest.fixture
def ray(monkeypatch):
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    # What is set for Ray's processes must not outlive a test.
    for name in ("JAX_PLATFORMS", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_worker_niceness"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    return fake


def test_workers_make_what_one_process_makes(raeg, ray, photos, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    raeg("protect", photos, whole)
    result = raeg("protect", photos, out, "--engine", "ray", "--workers", "3")
    assert result.out == raeg("protect", photos, tmp_path / "other").out
    assert "Ray: 3 workers" in result.err
    assert_same_outputs(out, whole)
    assert (ray.started, ray.options["num_cpus"], ray.connected) == (3, 1, None)
    # Whoever resumes it may have no engine, and finds nothing to do; nor does an engine.
    assert "5 were done before" in raeg("protect", photos, out).out
    assert "5 were done before" in raeg("protect", photos, out, "--engine=ray").out
    assert ray.started == 3
    raeg("recover", out, tmp_path / "back", "--engine=ray")
    raeg("verify", out, "--originals", tmp_path / "back")


def test_shards_and_engines_go_together(raeg, ray, photos, tmp_path):
    for number in (1, 2):
        raeg("protect", photos, tmp_path / "out", "--engine=ray", f"--shard={number}/2")
    raeg("merge", tmp_path / "out")
    raeg("protect", photos, tmp_path / "whole")
    assert_same_outputs(tmp_path / "out", tmp_path / "whole")


def test_the_images_of_a_dead_worker_are_made_again(raeg, ray, photos, tmp_path):
    calls = []

    def dies(name, arguments):
        calls.append(name)
        return len(calls) in (3, 5, 9)

    ray.dies = dies
    result = raeg("protect", photos, tmp_path / "out", "--engine=ray", "--batch-size=1")
    assert "a worker died" in result.err
    raeg("protect", photos, tmp_path / "whole")
    assert_same_outputs(tmp_path / "out", tmp_path / "whole")
    assert not (tmp_path / "out" / STAGING).exists()


def test_an_image_that_kills_workers_fails_alone(raeg, ray, photos, tmp_path):
    ray.dies = lambda name, arguments: (
        name == "convert" and any(image.name == "top.tiff" for image, _ in arguments[0])
    )
    result = raeg("protect", photos, tmp_path / "out", "--engine=ray", status=1)
    assert "top.tiff: 10 workers died on it" in result.err
    assert result.out.startswith("4 images protected")


def test_errors_of_images_and_of_the_run_are_those_of_one_process(raeg, ray, photos, tmp_path):
    (photos / "empty.png").touch()
    broken = pixels(9)
    broken[0, 0, 0] = BROKEN
    save(photos / "broken.png", broken)
    out, whole = tmp_path / "out", tmp_path / "whole"
    result = raeg("protect", photos, out, "--engine=ray", status=1)
    expected = raeg("protect", photos, whole, status=1)
    lines = [
        sorted(line for line in each.err.splitlines() if line.startswith("failed"))
        for each in (result, expected)
    ]
    assert lines[0] == lines[1]
    assert len(lines[0]) == 2
    assert_same_outputs_but_failures(out, whole)


def assert_same_outputs_but_failures(out, whole):
    for name in files(whole):
        if name != NAME:
            assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert files(out) == files(whole)


def test_workers_that_never_start_end_the_run(raeg, ray, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_workers, "_PAUSE_SECONDS", 0)
    ray.dies = lambda name, arguments: name == "start"
    result = raeg("protect", photos, tmp_path / "out", "--engine=ray", status=1)
    assert "workers die before they have started (the actor died)" in result.err


def test_another_generator_on_a_workers_machine_ends_the_run(raeg, ray, photos, tmp_path):
    def replaced(name, arguments):
        raeg.generator.write_bytes(b"another")
        return False

    ray.dies = replaced
    result = raeg("protect", photos, tmp_path / "out", "--engine=ray", status=1)
    assert "has another generator in" in result.err


@pytest.mark.parametrize("dead", [0, 4])
def test_record_files_are_made_by_workers(raeg, ray, tmp_path, dead):
    source = datasets.prepare(tmp_path / "data")
    calls = []

    def dies(name, arguments):
        calls.append(name)
        return len(calls) == dead

    ray.dies = dies
    out, whole = tmp_path / "out", tmp_path / "whole"
    raeg("protect", source, whole)
    assert raeg("protect", source, out, "--engine=ray").out.startswith("9 images protected")
    assert files(out) == files(whole)
    for name in files(whole):
        if name != NAME:
            assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    raeg("recover", out, tmp_path / "back", "--engine=ray")
    raeg("verify", out, "--originals", tmp_path / "back")


def test_tars_are_made_by_workers_and_in_shards(raeg, ray, tmp_path):
    source = tars.prepare(tmp_path / "data")
    out, whole = tmp_path / "out", tmp_path / "whole"
    raeg("protect", source, whole)
    for number in (1, 2):
        result = raeg("protect", source, out, "--engine=ray", f"--shard={number}/2")
        assert result.out.startswith(f"{4 - number} images protected")
    assert raeg("merge", out).out == "2 shards merged: 5 images\n"
    assert files(out) == files(whole)
    raeg("verify", out, "--originals", source)
    assert "5 were done before" in raeg("protect", source, out).out


def test_a_record_file_that_kills_workers_fails_alone(raeg, ray, tmp_path):
    source = datasets.prepare(tmp_path / "data")
    ray.dies = lambda name, arguments: name == "make_file" and "test" in arguments[0].name
    result = raeg("protect", source, tmp_path / "out", "--engine=ray", status=1)
    assert "10 workers died on it" in result.err
    assert result.out.startswith("7 images protected")
    ray.dies = lambda name, arguments: False
    raeg("protect", source, tmp_path / "out", "--engine=ray")


@pytest.fixture
def ctrl_c():
    """Ctrl-C raises KeyboardInterrupt, also where tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stay_what_they_are(raeg, ray, photos, tmp_path, number):
    """Ray makes a Ctrl-C of every signal that comes while it waits."""

    came = []

    def signalled(name, arguments):
        if name == "convert" and not came:
            came.append(name)
            try:
                signal.raise_signal(number)
            except KeyboardInterrupt:
                raise KeyboardInterrupt from None
        return False

    ray.dies = signalled
    arguments = ["protect", photos, tmp_path / "out", "--engine=ray", "--batch-size=1"]
    result = raeg(*arguments, status=75 if number == signal.SIGTERM else 130)
    word = "stopped by SIGTERM" if number == signal.SIGTERM else "interrupted"
    last = result.err.splitlines()[-1]
    assert re.fullmatch(rf"{word}: \d of 5 images done, and the same command resumes .*", last)
    assert not (tmp_path / "out" / STAGING).exists()
    raeg(*arguments)


def test_mistakes_are_refused(raeg, ray, photos, tmp_path, monkeypatch):
    def refused(*arguments):
        return raeg("protect", *arguments, status=2).err

    out = tmp_path / "out"
    assert "--workers is for --engine=ray" in refused(photos, out, "--workers=2")
    assert "--address is for --engine=ray" in refused(photos, out, "--address=auto")
    single = photos / "top.tiff"
    assert "is for folders and data sets" in refused(single, out, "--engine=ray")
    message = refused(photos, out, "--engine=ray", "--address=nowhere:1")
    assert "there is no Ray cluster at nowhere:1 (nobody answers)" in message
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'raeg-jax[ray]'" in refused(photos, out, "--engine=ray")


def descendants(driver):
    """Names of a process's descendants, by process id."""
    parents, names = {}, {}
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            names[int(path.name)] = (path / "cmdline").read_bytes()
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])

    def is_ours(pid):
        while pid > 1 and pid != driver:
            pid = parents.get(pid, 0)
        return pid == driver

    return {pid: name for pid, name in names.items() if is_ours(pid)}


def listens_to(pids):
    """Addresses at which processes listen, as the kernel writes them."""
    sockets = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for path in pathlib.Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    sockets.add(os.readlink(path))
    lines = [
        line.split()
        for kind in ("tcp", "tcp6")
        for line in pathlib.Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
    ]
    return {
        line[1].partition(":")[0]
        for line in lines
        if line[3] == "0A" and f"socket:[{line[9]}]" in sockets
    }


@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="the extra ray isn't installed")
def test_kills_of_workers_and_of_the_driver_lose_nothing(tmp_path, owner):
    for number in range(40):
        save(tmp_path / "photos" / f"{number}.png", pixels(number))
    command = ["fake_codec.py", "protect", tmp_path / "photos"]
    finish(start(*command, tmp_path / "undisturbed", *owner))
    out = tmp_path / "out"
    command += [out, *owner, "--engine=ray", "--workers=2", "--batch-size=1"]

    def outputs():
        return len(list(out.glob("*.png")))

    def wait_for(process, count):
        while outputs() < count and process.poll() is None:
            time.sleep(0.02)

    path = os.pathsep.join(filter(None, sys.path))
    driver = start(*command, SECONDS_A_BATCH="0.2", PYTHONPATH=f"{path}")
    wait_for(driver, 4)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    before = outputs()
    assert 4 <= before < 40
    driver = start(*command, SECONDS_A_BATCH="0.2", PYTHONPATH=f"{path}")
    wait_for(driver, before + 4)
    processes = descendants(driver.pid)
    # 127.0.0.1, also as an address of IPv6.
    assert listens_to(processes) == {"0100007F", "0000000000000000FFFF00000100007F"}
    workers = [pid for pid, name in processes.items() if name.startswith(b"ray::Worker")]
    os.kill(workers[0], signal.SIGKILL)
    _, err = driver.communicate()
    assert driver.returncode == 0, err
    assert "a worker died" in err
    assert_same_outputs(out, tmp_path / "undisturbed")
