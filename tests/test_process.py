import os
import signal
import sys
import time

import pytest

from raeg_jax.errors import UserError
from raeg_jax.process import (
    command_errors,
    open_streams,
    resend_ignored_interrupts,
    shell_command,
)


@pytest.fixture
def _default_signals():
    """Restores handlers; a process in the background may have been started without Ctrl-C."""
    handlers = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGTERM: signal.getsignal(signal.SIGTERM),
    }
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def fail():
    raise UserError("/photos/a\nb is missing")


@pytest.mark.usefixtures("_default_signals")
@pytest.mark.parametrize(
    ("block", "status", "line"),
    [
        (fail, 2, "error: /photos/a\\nb is missing"),
        (lambda: signal.raise_signal(signal.SIGINT), 130, "interrupted"),
        (
            lambda: signal.raise_signal(signal.SIGTERM),
            75,
            "stopped by SIGTERM; the same command resumes",
        ),
    ],
)
def test_errors_of_the_user_and_signals_take_one_line(capsys, block, status, line):
    with pytest.raises(SystemExit) as ended, command_errors():
        block()
    assert ended.value.code == status
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.usefixtures("_default_signals")
def test_other_errors_pass(capsys):
    with pytest.raises(ZeroDivisionError), command_errors():
        _ = 1 / 0
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("_default_signals")
def test_a_deleted_current_folder_is_an_error_of_the_user(tmp_path, monkeypatch, capsys):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    os.rmdir(tmp_path / "folder")
    with pytest.raises(SystemExit, match="2"), command_errors():
        raise AssertionError
    assert (
        capsys.readouterr().err == "error: the current folder was deleted: change to another one\n"
    )


@pytest.mark.usefixtures("_default_signals")
def test_ctrl_c_is_resent_where_python_ignores_it(monkeypatch):
    class Odd:
        def __del__(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    resend_ignored_interrupts.__wrapped__()

    def run():
        Odd()
        time.sleep(30)

    with pytest.raises(KeyboardInterrupt):
        run()


def test_closed_streams_lead_nowhere(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    open_streams()
    with sys.stderr as stream:
        print("lost", file=stream)
        assert not stream.isatty()


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["train.py", "--workdir=my runs"], "python train.py '--workdir=my runs'"),
        (["/env/bin/raeg", "train", "--config=smoke"], "raeg train --config=smoke"),
        (["/env/raeg_jax/__main__.py", "eval"], "raeg eval"),
    ],
)
def test_the_shell_command_can_be_typed_again(monkeypatch, argv, command):
    monkeypatch.setattr("sys.argv", argv)
    assert shell_command() == command
