"""`train.py` as users run it, on real photographs: killed, stopped and continued."""

import csv
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import orbax.checkpoint as ocp
import pytest

from raeg_jax.lock import locked
from raeg_jax.protection.loaded_generator import load_generator
from raeg_jax.protection.protect import Protector
from raeg_jax.protection.recover import Recoverer
from raeg_jax.training.logs import read_rows
from tests.payload.payloads import KEY
from tests.protection.generators import photographs

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 60


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder that all processes of pytest-xdist have together."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "end_to_end"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def environment(shared):
    """One device; data prepared once; compiled programs kept from run to run."""
    environment = os.environ | {
        "RAEG_DATA": str(shared / "data"),
        "JAX_COMPILATION_CACHE_DIR": str(shared / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    environment.pop("XLA_FLAGS")
    # Programs as users have them: equal bits and exact recovery must survive all optimisation.
    environment.pop("JAX_DISABLE_MOST_OPTIMIZATIONS", None)
    return environment


def start(workdir, environment, *arguments):
    command = [
        *(sys.executable, "train.py", "--config=configs/smoke.py", f"--workdir={workdir}"),
        *(f"--config.train.steps={STEPS}", "--config.train.checkpoint_every=2"),
        *("--config.train.eval_every=20", "--config.eval.max_images=8"),
        # Less to compile, which takes most of the time.
        *("--config.generator.blocks=(1,)", "--config.generator.widths=(8,)"),
        *("--config.classifiers.held_out=()", "--config.eval.pgd_steps=0"),
        *arguments,
    ]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=-1, stderr=subprocess.STDOUT
    )


def finish(process):
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def steps_saved(folder):
    names = os.listdir(folder) if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdecimal())


def strike(process, folder, number, at_step):
    """Sends a signal as soon as a checkpoint of `at_step` or later is there."""
    deadline = time.monotonic() + 300
    while not (saved := steps_saved(folder)) or saved[-1] < at_step:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(number)


@pytest.fixture(scope="module")
def unbroken(shared, environment):
    """A run's workdir and what it printed; the first process that wants them makes them."""
    workdir, printed = shared / "unbroken", shared / "unbroken.txt"
    with locked(shared / "lock"):
        if not printed.exists():
            status, output = finish(start(workdir, environment))
            assert status == 0, output
            printed.write_text(output)
    return workdir, printed.read_text()


def read_checkpoint(workdir):
    folder = workdir / "checkpoints" / str(STEPS)
    with ocp.PyTreeCheckpointer() as checkpointer:
        arrays = {item: checkpointer.restore(folder / item) for item in ("state", "ema")}
    return arrays, json.loads((folder / "iterator" / "metadata").read_text())


def read_log(workdir):
    """All rows but the weights that are logged each time the run resumes."""
    rows = read_rows(workdir / "metrics.jsonl")
    rows = [row for row in rows if not row["step"] or "weight/range" not in row]
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]


def assert_equal_trees(a, b, path="checkpoint"):
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for name in a:
            assert_equal_trees(a[name], b[name], f"{path}/{name}")
    else:
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=path)


def test_a_run_leaves_all_its_files_and_prints_the_table(unbroken):
    workdir, output = unbroken
    for name in ("config.json", "metrics.jsonl", "results.json", "grid.png", "tensorboard"):
        assert (workdir / name).exists(), name
    for text in (
        *("compiling the step", "resnet_small: accuracy on clean images", "PSNR, dB"),
        "8 of 8 came back bit for bit (payload ",
    ):
        assert text in output, text
    assert "Traceback" not in output
    assert "Warning" not in output
    assert json.loads((workdir / "results.json").read_text())["step"] == STEPS


def test_files_come_back_exactly_and_pixels_alone_where_they_stay_in_range(unbroken):
    with (unbroken[0] / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows if row["exact"] != "1"] == []
    rows = [row for row in rows if float(row["outside_range"]) == 0]
    assert rows
    assert [row["file"] for row in rows if row["exact_from_pixels_alone"] != "1"] == []
    # Which says little of a generator that changes nothing.
    assert any(float(row["psnr_protected"]) < 60 for row in rows)


@pytest.mark.slow
def test_stop_and_kill_and_go_on_equals_an_unbroken_run(unbroken, environment, tmp_path):
    checkpoints = tmp_path / "checkpoints"

    process = start(tmp_path, environment)
    unfinished = tmp_path / "classifiers" / "resnet_small" / "unfinished"
    strike(process, unfinished, signal.SIGTERM, at_step=4)
    status, output = finish(process)
    assert status == 75, output
    assert re.search(r"stopped by SIGTERM after step \d+ of 20 of classifier resnet_small", output)

    process = start(tmp_path, environment)
    strike(process, checkpoints, signal.SIGKILL, at_step=10)
    status, output = finish(process)
    assert status == -signal.SIGKILL, output
    assert "resuming classifier resnet_small after step" in output
    assert not unfinished.exists()
    (*_, killed_at) = steps_saved(checkpoints)
    assert 10 <= killed_at < STEPS

    process = start(tmp_path, environment)
    strike(process, checkpoints, signal.SIGTERM, at_step=killed_at + 2)
    status, output = finish(process)
    assert status == 75, output
    assert "stopped by SIGTERM after step" in output
    assert f"resuming after step {killed_at}" in output
    (*_, stopped_at) = steps_saved(checkpoints)
    assert killed_at < stopped_at < STEPS

    status, output = finish(start(tmp_path, environment))
    assert status == 0, output
    assert f"resuming after step {stopped_at}" in output
    assert "training classifier" not in output

    (a, position_a), (b, position_b) = (read_checkpoint(w) for w in (unbroken[0], tmp_path))
    assert_equal_trees(a, b)
    assert position_a == position_b
    assert read_log(unbroken[0]) == read_log(tmp_path)
    one, other = (
        json.loads((workdir / "results.json").read_text()) for workdir in (unbroken[0], tmp_path)
    )
    del one["command"], other["command"]
    assert one == other


@pytest.mark.slow
def test_a_generator_that_poisons_classes_resumes_and_is_exported(unbroken, environment, tmp_path):
    workdir, file = tmp_path / "run", tmp_path / "generator.raeg"
    shutil.copytree(unbroken[0] / "classifiers", workdir / "classifiers")
    options = (
        *("--config.generator.class_planes=4", "--config.train.eval_every=4"),
        *("--config.loss.weight.poison=1", "--config.loss.weight.adversary=0"),
        *("--config.loss.weight.token=0", "--config.patterns.surrogates=('resnet_small',)"),
        "--config.optimizer.learning_rate=0.01",
    )
    for steps in (2, 4):
        changes = (f"--config.train.steps={steps}", "--config.train.checkpoint_every=2", *options)
        status, output = finish(start(workdir, environment, *changes))
        assert status == 0, output
        assert "8 of 8 came back bit for bit (payload " in output
    assert "resuming after step 2" in output
    done = subprocess.run(
        [sys.executable, "-m", "raeg_jax", "export", workdir, file],
        env=environment, text=True, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    generator = load_generator(file)
    assert list(generator.classifiers) == ["resnet_small"]
    images = photographs(2, 40, 56)
    token = np.ones((2, 40, 56, generator.chain.token_planes), np.int8)
    one, other = (
        generator.chain.forward(np.float32(images), np.full(2, label), token)[0] for label in (0, 1)
    )
    assert np.any(one != other)
    protected = Protector(generator, KEY, batch_size=2).protect(images, [1, None])
    recovered = Recoverer(generator, KEY, batch_size=2).recover(
        [one.pixels for one in protected],
        [None if one.in_pixels else one.blob for one in protected],
    )
    for original, result in zip(images, recovered, strict=True):
        np.testing.assert_array_equal(result.pixels, original)


def test_another_network_in_the_same_workdir_takes_one_line(unbroken, environment):
    workdir, _ = unbroken
    status, output = finish(start(workdir, environment, "--config.generator.depth=2"))
    assert status == 2
    (line,) = output.splitlines()
    assert line.startswith("error: the workdir holds another run: config.generator.depth was 1")
