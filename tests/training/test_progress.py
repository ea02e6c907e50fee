import numpy as np
import pytest

from raeg_jax.training import progress as progress_lib
from raeg_jax.training.progress import Progress


class Clock:
    """Stands in for the time module: moves when told."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress_lib, "time", clock)
    return clock


def test_bar_says_that_it_compiles_until_the_first_step(capsys):
    with Progress("training", 2) as progress:
        assert "training: compiling the step (about a minute)…" in capsys.readouterr().err
        progress.advance({"loss/total": 0.125, "psnr": 40.0})
        progress.advance()
    shown = capsys.readouterr().err
    assert "2/2" in shown
    assert "compiling" not in shown.split("\r")[-1]
    assert "total 0.125 psnr 40" in shown


def test_a_continued_run_starts_where_it_was(capsys):
    with Progress("training", 10, done=7) as progress:
        progress.advance()
    assert "8/10" in capsys.readouterr().err


def test_rate_counts_neither_compilation_nor_pauses(clock):
    with Progress("training", 10, images_per_step=8) as progress:
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
    with Progress("training", 10) as progress:
        progress.advance()
        with progress.pause("saving a checkpoint…"):
            assert "saving a checkpoint…" in capsys.readouterr().err.split("\r")[-1]
        progress.advance()
    assert capsys.readouterr().err.split("\r")[-1].startswith("training |")


def test_other_processes_show_nothing(capsys, monkeypatch):
    monkeypatch.setattr(progress_lib, "is_main_process", lambda: False)
    with Progress("training", 2) as progress:
        progress.advance({"a": 1.0})
    assert capsys.readouterr().err == ""
