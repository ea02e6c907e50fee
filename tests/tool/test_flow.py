"""The order of work: batches, bounds, and the end, with steps that do nothing."""

import threading

import numpy as np
import pytest

from raeg_jax.errors import DivergedError, UserError
from raeg_jax.image_file.read import ImageFile
from raeg_jax.tool import flow
from raeg_jax.tool.flow import Flow
from raeg_jax.tool.outcome import NoSpaceError, Outcome, Status
from raeg_jax.tool.steps import Begun, Loaded
from raeg_jax.tool.walk import Job


class Steps:
    """Jobs' outputs are the pictures' shapes, such as '8x8'; names say what goes wrong."""

    def __init__(self):
        self.batches, self.kept, self.threads = [], [], set()

    def begin(self, job):
        if "skipped" in job.name:
            return Outcome(job.name, Status.SKIPPED)
        height, width = map(int, job.output.split("x"))
        return Begun(job, None, height * width)

    def read(self, begun):
        self.threads.add(threading.current_thread())
        if "unreadable" in begun.job.name:
            raise UserError(f"{begun.job.name} is unreadable")
        height, width = map(int, begun.job.output.split("x"))
        return Loaded(begun, ImageFile(np.zeros((height, width, 3), np.uint8)))

    def shape(self, height, width):
        return height, width

    def transform(self, loaded):
        assert threading.current_thread() is threading.main_thread()
        names = [one.job.name for one in loaded]
        self.batches.append(names)
        if any("diverged" in name for name in names):
            raise DivergedError("the generator has diverged")
        if any("impossible" in name for name in names):
            raise MemoryError
        if any("interrupted" in name for name in names):
            raise KeyboardInterrupt
        return [UserError("wrong key") if "wrong" in name else name for name in names]

    def write(self, loaded, result):
        assert result == loaded.job.name
        if "full" in result:
            raise NoSpaceError("the disk is full")
        return result

    def keep(self, written):
        self.kept.append(written)
        return [Outcome(name) for name in written]


def jobs(names, shape="8x8"):
    return [Job(None, name, shape) for name in names]


def numbered(count, shape="8x8"):
    return jobs([f"{shape} {number}" for number in range(count)], shape)


def outcomes(work):
    return {outcome.name: outcome.status for outcome in work}


def test_all_jobs_have_one_outcome_each():
    given = [*numbered(50), *jobs(["unreadable", "skipped", "wrong", "impossible"])]
    steps = Steps()
    found = [(outcome.name, outcome.status) for outcome in Flow(given, steps, 8)]
    expected = {job.name: Status.DONE for job in given}
    expected |= dict.fromkeys(["unreadable", "wrong", "impossible"], Status.FAILED)
    expected["skipped"] = Status.SKIPPED
    assert len(found) == len(given)
    assert dict(found) == expected


def test_reasons_of_failures_name_the_file():
    work = Flow(jobs(["unreadable", "wrong", "impossible"]), Steps(), 8)
    reasons = {outcome.name: outcome.reason for outcome in work}
    assert reasons["unreadable"] == "unreadable is unreadable"
    assert reasons["wrong"] == "wrong: wrong key"
    assert reasons["impossible"].startswith("impossible: takes more memory than there is")


def test_a_diverged_generator_ends_the_work():
    """No image could be protected, so the others aren't tried."""
    steps = Steps()
    work = Flow([*jobs(["diverged"]), *numbered(50)], steps, 8)
    with pytest.raises(DivergedError):
        outcomes(work)
    work.close()
    assert len(steps.batches) < 7


def test_batches_are_full_but_for_the_last_of_each_shape():
    steps = Steps()
    mixed = [job for pair in zip(numbered(13), numbered(13, "9x8"), strict=True) for job in pair]
    assert len(outcomes(Flow(mixed, steps, 5))) == 26
    for shape in ("8x8", "9x8"):
        sizes = [len(batch) for batch in steps.batches if batch[0].startswith(shape)]
        assert sizes == [5, 5, 3]
    assert all(len({name.split()[0] for name in batch}) == 1 for batch in steps.batches)


def test_large_pictures_come_in_smaller_batches(monkeypatch):
    monkeypatch.setattr(flow, "_BATCH_ROOM", 3 * flow.LEAST)
    steps = Steps()
    outcomes(Flow([*numbered(6), *numbered(3, "200x200")], steps, 5))
    assert sorted(map(len, steps.batches)) == [1, 1, 1, 3, 3]


@pytest.mark.parametrize("faults", [(), ("unreadable", "wrong", "impossible", "skipped")])
def test_no_more_pictures_are_in_memory_than_there_is_room_for(monkeypatch, faults):
    """All have different shapes, so that no batch is ever full."""
    monkeypatch.setattr(flow, "ROOM", 4 * flow.LEAST)
    lock, held, most = threading.Lock(), 0, 0

    class Counting(Steps):
        def read(self, begun):
            nonlocal held, most
            loaded = super().read(begun)
            with lock:
                held += 1
                most = max(most, held)
            return loaded

        def transform(self, loaded):
            nonlocal held
            results = super().transform(loaded)
            with lock:
                held -= sum(isinstance(result, Exception) for result in results)
            return results

        def write(self, loaded, result):
            nonlocal held
            with lock:
                held -= 1
            return super().write(loaded, result)

    given = [Job(None, f"8x{width}", f"8x{width}") for width in range(1, 31)]
    for i, fault in enumerate(faults * 4):
        given.insert(2 * i, Job(None, f"{fault} {i}", f"9x{i + 1}"))
    assert len(outcomes(Flow(given, Counting(), 5))) == len(given)
    # Those that the network fails on as a whole aren't counted off above.
    assert most <= 4 + sum(fault == "impossible" for fault in faults * 4)


def test_a_picture_larger_than_all_room_goes_alone(monkeypatch):
    monkeypatch.setattr(flow, "ROOM", flow.LEAST)
    found = outcomes(Flow([*numbered(3, "300x300"), *numbered(3)], Steps(), 5))
    assert list(found.values()) == [Status.DONE] * 6


def test_a_full_disk_ends_all_and_what_is_written_is_kept():
    steps = Steps()
    work = Flow([*numbered(8), *jobs(["full"] * 4, "9x9"), *numbered(500, "7x7")], steps, 4)
    found = []
    with pytest.raises(NoSpaceError):
        found.extend(work)
    found += work.stop()
    assert {outcome.name for outcome in found} >= {job.name for job in numbered(8)}
    assert len(found) < 500
    assert not any(thread.is_alive() for thread in steps.threads)


def test_ctrl_c_ends_all_and_what_is_written_is_kept():
    steps = Steps()
    work = Flow([*numbered(8), *jobs(["interrupted"] * 4, "9x9"), *numbered(500, "7x7")], steps, 4)
    found = []
    with pytest.raises(KeyboardInterrupt):
        found.extend(work)
    found += work.stop()
    done = [name for batch in steps.kept for name in batch]
    assert sorted(done) == sorted(outcome.name for outcome in found)
    assert set(done) <= {name for batch in steps.batches for name in batch}
    assert not any(thread.is_alive() for thread in steps.threads)
