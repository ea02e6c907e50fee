"""The loop's bar and its signals; test_generator.py and test_classifier.py have its steps."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from raeg_jax.training import loop


@pytest.mark.parametrize("number", loop.SIGNALS)
def test_signal_sets_a_flag_and_interrupts_nothing(number):
    with loop.Preemption() as stop:
        assert stop.requested() is None
        os.kill(os.getpid(), number)
        time.sleep(0)  # Python runs handlers between instructions
        assert stop.requested() == signal.Signals(number).name


def test_second_ctrl_c_interrupts():
    def twice():
        with loop.Preemption():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)

    # A shell that runs the tests in the background has them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            twice()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("signalled", [False, True])
def test_handlers_are_put_back(signalled):
    before = [signal.getsignal(number) for number in loop.SIGNALS]
    with loop.Preemption():
        assert [signal.getsignal(number) for number in loop.SIGNALS] != before
        if signalled:
            os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in loop.SIGNALS] == before


def test_outside_the_main_thread_signals_are_left_alone():
    seen = []

    def work():
        with loop.Preemption() as stop:
            seen.append(stop.requested())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None]


class Clock:
    """Stands in for the time module: the test sets the time."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    return clock


def test_bar_says_that_it_compiles_until_the_first_step(capsys):
    with loop.Progress("training", 2) as progress:
        assert "training: compiling the step (about a minute)…" in capsys.readouterr().err
        progress.advance({"loss/total": 0.125, "psnr": 40.0})
        progress.advance()
    shown = capsys.readouterr().err
    assert "2/2" in shown
    assert "compiling" not in shown.split("\r")[-1]
    assert "total 0.125 psnr 40" in shown


def test_a_continued_run_starts_where_it_was(capsys):
    with loop.Progress("training", 10, done=7) as progress:
        progress.advance()
    assert "8/10" in capsys.readouterr().err


def test_rate_counts_neither_compilation_nor_pauses(clock):
    with loop.Progress("training", 10, images_per_step=8) as progress:
        assert progress.images_per_second() == 0
        clock.now = 60.0
        progress.advance()
        assert progress.images_per_second() == 0
        for _ in range(4):
            clock.now += 0.5
            progress.advance()
        with progress.pause("evaluating"):
            clock.now += 30.0
        np.testing.assert_allclose(progress.images_per_second(), 16.0)


def test_pause_says_what_happens_and_goes_back(capsys):
    with loop.Progress("training", 10) as progress:
        progress.advance()
        with progress.pause("saving a checkpoint…"):
            assert "saving a checkpoint…" in capsys.readouterr().err.split("\r")[-1]
        progress.advance()
    assert capsys.readouterr().err.split("\r")[-1].startswith("training |")


def test_other_processes_show_nothing(capsys, monkeypatch):
    monkeypatch.setattr(loop, "is_main_process", lambda: False)
    with loop.Progress("training", 2) as progress:
        progress.advance({"a": 1.0})
    assert capsys.readouterr().err == ""
