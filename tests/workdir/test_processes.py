import multiprocessing
import os
import signal

import pytest

from raeg_jax.errors import UserError
from raeg_jax.workdir import processes
from raeg_jax.workdir.processes import claimed


def hold(workdir, connection):
    with claimed(workdir):
        connection.send("held")
        connection.recv()


def test_one_run_at_a_time_and_a_killed_one_lets_go(tmp_path):
    workdir = tmp_path / "runs" / "a"
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=hold, args=(workdir, theirs))
    process.start()
    try:
        assert ours.recv() == "held"
        with (
            pytest.raises(UserError, match=rf"another run is using {workdir}: wait"),
            claimed(workdir),
        ):
            pass
        with claimed(tmp_path / "runs" / "b"):
            pass
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    for _ in range(2):
        with claimed(workdir):
            pass


def test_errors_of_the_run_itself_pass(tmp_path):
    with pytest.raises(BlockingIOError), claimed(tmp_path):
        raise BlockingIOError


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_workdir_that_cannot_be_made_is_named(tmp_path, name):
    (tmp_path / "file").touch()
    workdir = tmp_path / name
    message = rf"--workdir={workdir} can't be written"
    with pytest.raises(UserError, match=message), claimed(workdir):
        pass


def test_other_processes_of_a_run_leave_it_to_the_main_one(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "is_main_process", lambda: False)
    with claimed(tmp_path / "a"), claimed(tmp_path / "a"):
        assert not (tmp_path / "a").exists()
