import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from raeg_jax.evaluation import timing
from tests.evaluation.evaluation_toys import flat_images, shift


def test_throughput_says_how_fast_and_on_what():
    images = flat_images([100] * 4)
    result = timing.throughput(shift(2), images, np.zeros(4, np.int32), repeats=2)
    assert result["protect_images_per_s"] > 0
    assert result["recover_images_per_s"] > 0
    assert result["batch_size"] == 4
    assert result["image_size"] == [16, 16]
    assert "cpu" in result["device"]


def test_anything_done_with_a_batch_can_be_timed(monkeypatch):
    monkeypatch.setattr(timing, "median_time", lambda call, repeats, seconds: call())
    images = flat_images([100] * 4)
    result = timing.speeds({"attack": lambda: 0.5, "read": lambda: 2.0}, images)
    assert (result["attack_images_per_s"], result["read_images_per_s"]) == (8, 2)
    assert (result["batch_size"], result["image_size"]) == (4, [16, 16])


def test_the_first_call_compiles_and_does_not_count(monkeypatch):
    clock = iter([0.0, 2.0, 10.0, 13.0, 20.0, 30.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    calls = []
    assert timing.median_time(lambda: calls.append(1), repeats=3, seconds=100) == 3.0
    assert len(calls) == 4


def test_slow_calls_are_not_repeated(monkeypatch):
    clock = iter([0.0, 60.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    assert timing.median_time(lambda: None, repeats=5, seconds=3.0) == 60.0


def test_a_stopwatch_counts_all_but_compilation():
    watch = timing.Stopwatch()
    for _ in range(2):
        with watch:
            time.sleep(0.05)
    assert watch.seconds >= 0.1
    compiled = timing.Stopwatch()
    started = time.perf_counter()
    with compiled:
        # New to JAX, and nested.
        jax.jit(lambda x: jax.jit(lambda y: jnp.linalg.svd(y)[0])(x).sum())(jnp.ones((7, 7)))
    whole = time.perf_counter() - started
    assert 0 <= compiled.seconds < whole


def test_a_stopwatch_runs_once_at_a_time():
    watch = timing.Stopwatch()
    with watch, pytest.raises(RuntimeError, match="is running already"), watch:
        pass
    with watch:
        pass
