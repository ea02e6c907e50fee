"""Two processes of two devices each, as on two hosts, agree with one process."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from configs import smoke
from raeg_jax.errors import UserError
from raeg_jax.process import EXIT_STOPPED
from raeg_jax.training import parallel
from raeg_jax.training.loop import Preemption
from raeg_jax.workdir import processes as processes_lib
from raeg_jax.workdir import processes as state_lib
from raeg_jax.workdir.checkpoint import Checkpoints, TrainState

ROOT = pathlib.Path(__file__).parents[2]
IN_EVERY_MODE = pytest.mark.parametrize(
    "mode",
    [pytest.param(m, marks=pytest.mark.slow if i else ()) for i, m in enumerate(parallel.MODES)],
)
IMAGES = np.random.RandomState(0).randn(8, 3).astype(np.float32)


def step(state, frozen, batch):
    x = batch["x"]
    gradient = lax.pmean(x.T @ (x @ state.params["w"]) / len(x), state_lib.AXIS)
    params = {"w": state.params["w"] - 0.1 * gradient}
    return state.replace(step=state.step + 1, params=params), {"norm": jnp.sum(gradient**2)}


def run(mode, workdir, share, steps):
    """Takes steps on this process's share of the images, from a checkpoint if there is one."""
    config = smoke.get_config()
    fn = parallel.ParallelStep(step, mode)
    fresh = TrainState(jnp.int32(0), {"w": jnp.arange(3.0)}, {"w": jnp.ones(3)}, {}, {}, ())
    with Checkpoints(workdir, config.train) as checkpoints:
        if checkpoints.steps():
            state, _ = checkpoints.restore(fresh)
        else:
            state = state_lib.replicate(fresh)
        for _ in range(steps):
            state, metrics = fn(state, {}, {"x": IMAGES[share]})
        checkpoints.save(state, {"batches": int(state.step)}, config)
    return np.asarray(state.params["w"]), float(metrics["norm"])


def work(mode, workdir):
    """What each of the two processes does."""
    processes_lib.start_multi_host()
    import jax

    assert jax.device_count() == 4
    assert processes_lib.is_main_process() == (jax.process_index() == 0)
    share = slice(4 * jax.process_index(), 4 * jax.process_index() + 4)
    for _ in range(2):
        weights, norm = run(mode, workdir, share, steps=2)
    if jax.process_index() == 0:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(4)  # until both processes have heard of it, before the first step
    with Preemption() as preemption:
        seen = [preemption.requested() for _ in range(20)]
    step, stopped = next((pair for pair in enumerate(seen) if pair[1]), (None, None))
    print("stopped", step, stopped)
    print("result", *(float(value).hex() for value in (*weights, norm)))


def die(mode, workdir):
    """The second process is killed behind the first checkpoint; what becomes of the first one?"""
    with processes_lib.several_hosts():
        import jax

        share = slice(4 * jax.process_index(), 4 * jax.process_index() + 4)
        run(mode, workdir, share, steps=2)
        if jax.process_index() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        for _ in range(1000):
            run(mode, workdir, share, steps=2)


def start_two(what, mode, workdir):
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
        "JAX_COORDINATOR_ADDRESS": f"localhost:{free_port()}",
        "JAX_NUM_PROCESSES": "2",
        # Each process compiles its own programs, as hosts do.
        "JAX_ENABLE_COMPILATION_CACHE": "0",
    }
    return [
        subprocess.Popen(
            [sys.executable, __file__, what, mode, str(workdir)],
            env=environment | {"JAX_PROCESS_ID": str(i)},
            stdout=-1,
            stderr=-1,
            text=True,
        )
        for i in range(2)
    ]


def free_port():
    with socket.socket() as sock:
        sock.bind(("localhost", 0))
        return sock.getsockname()[1]


@IN_EVERY_MODE
def test_two_processes_agree_with_one(mode, tmp_path):
    results, stops = [], []
    for process in start_two("work", mode, tmp_path / "two"):
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        stops.append([row for row in output.splitlines() if row.startswith("stopped")])
        (line,) = (row for row in output.splitlines() if row.startswith("result"))
        results.append([float.fromhex(word) for word in line.split()[1:]])
    assert stops[0] == stops[1]
    assert stops[0][0].endswith("SIGTERM")
    assert results[0] == results[1]
    for _ in range(2):
        weights, norm = run(mode, tmp_path / "one", slice(None), steps=2)
    np.testing.assert_allclose(results[0], [*weights, norm], rtol=1e-5)
    # What two have begun, one continues.
    alone, uninterrupted = (
        run(mode, tmp_path / name, slice(None), steps=2) for name in ("two", "one")
    )
    np.testing.assert_allclose(*map(np.hstack, (alone, uninterrupted)), rtol=1e-5)


@IN_EVERY_MODE
def test_a_process_that_loses_another_says_so_and_the_run_resumes(mode, tmp_path):
    survivor, killed = start_two("die", mode, tmp_path / "two")
    _, errors = survivor.communicate(timeout=120)
    killed.communicate(timeout=10)
    assert killed.returncode == -signal.SIGKILL
    assert survivor.returncode == EXIT_STOPPED
    assert "error: this process lost another one of the run" in errors
    assert "Traceback" not in errors
    with Checkpoints(tmp_path / "two", smoke.get_config().train) as checkpoints:
        (saved,) = checkpoints.steps()
    run(mode, tmp_path / "one", slice(None), steps=saved)
    resumed, uninterrupted = (
        run(mode, tmp_path / name, slice(None), steps=2) for name in ("two", "one")
    )
    np.testing.assert_allclose(*map(np.hstack, (resumed, uninterrupted)), rtol=1e-5)


def test_a_lonely_host_learns_how_to_start_the_others(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(UserError, match=r"JAX_NUM_PROCESSES and JAX_PROCESS_ID set; or leave"):
        processes_lib.start_multi_host()


if __name__ == "__main__":
    {"work": work, "die": die}[sys.argv[1]](*sys.argv[2:])
