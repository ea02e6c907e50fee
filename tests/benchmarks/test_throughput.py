import pytest

from tests.benchmarks.loading import load_benchmark


@pytest.fixture
def throughput():
    yield from load_benchmark("throughput")


def test_the_first_call_compiles_and_does_not_count(throughput, monkeypatch):
    clock = iter([10.0, 13.0, 20.0, 30.0, 40.0, 42.0])
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(clock))
    calls = []
    assert throughput.median_time(lambda: calls.append(1), repeats=3) == 3.0
    assert len(calls) == 4
