"""The order of work: batches, bounds, and the end, with fakes that do nothing."""

import threading

import numpy as np
import pytest

from raeg_jax.cli import pipeline as pipeline_lib
from raeg_jax.cli.outputs import Outputs, Target
from raeg_jax.cli.pipeline import BudgetClosedError, Loaded, Operation, Pipeline, PixelBudget
from raeg_jax.cli.report import NoSpaceError, Result, Status
from raeg_jax.cli.scan import SourceImage
from raeg_jax.errors import DivergedError, UserError
from raeg_jax.image_file.read import ImageFile


class Fakes(Operation, Outputs):
    """Both ends: outputs' names are the pictures' shapes, such as '8x8'; names ask for faults."""

    def __init__(self):
        self.batches, self.committed, self.threads = [], [], set()

    def begin(self, image):
        return None if "skipped" in image.name else Target(image.name, None)

    def cost(self, image):
        height, width = map(int, image.output.split("x"))
        return height * width

    def read(self, image):
        self.threads.add(threading.current_thread())
        if "unreadable" in image.name:
            raise UserError(f"{image.name} is unreadable")
        height, width = map(int, image.output.split("x"))
        return Loaded(image, ImageFile(np.zeros((height, width, 3), np.uint8)))

    def shape(self, height, width):
        return height, width

    def transform(self, batch):
        assert threading.current_thread() is threading.main_thread()
        names = [loaded.image.name for loaded in batch]
        self.batches.append(names)
        if any("diverged" in name for name in names):
            raise DivergedError("the generator has diverged")
        if any("impossible" in name for name in names):
            raise MemoryError
        if any("interrupted" in name for name in names):
            raise KeyboardInterrupt
        return [UserError("wrong key") if "wrong" in name else name for name in names]

    def output(self, loaded, value, path):
        assert value == loaded.image.name
        return value

    def write(self, image, target, output):
        if "full" in output:
            raise NoSpaceError("the disk is full")
        return output

    def commit(self, written):
        self.committed.append(written)
        return [Result(name) for name in written]


def pipeline(images, fakes, batch_size):
    return Pipeline(images, fakes, fakes, batch_size)


def images(names, shape="8x8"):
    return [SourceImage(None, name, shape) for name in names]


def numbered(count, shape="8x8"):
    return images([f"{shape} {number}" for number in range(count)], shape)


def statuses(work):
    return {result.name: result.status for result in work}


def test_all_images_have_one_result_each():
    given = [*numbered(50), *images(["unreadable", "skipped", "wrong", "impossible"])]
    fakes = Fakes()
    found = [(result.name, result.status) for result in pipeline(given, fakes, 8)]
    expected = {image.name: Status.DONE for image in given}
    expected |= dict.fromkeys(["unreadable", "wrong", "impossible"], Status.FAILED)
    expected["skipped"] = Status.SKIPPED
    assert len(found) == len(given)
    assert dict(found) == expected


def test_reasons_of_failures_name_the_file():
    work = pipeline(images(["unreadable", "wrong", "impossible"]), Fakes(), 8)
    reasons = {result.name: result.reason for result in work}
    assert reasons["unreadable"] == "unreadable is unreadable"
    assert reasons["wrong"] == "wrong: wrong key"
    assert reasons["impossible"].startswith("impossible: takes more memory than there is")


def test_a_diverged_generator_ends_the_work():
    """No image could be protected, so the others aren't tried."""
    fakes = Fakes()
    work = pipeline([*images(["diverged"]), *numbered(50)], fakes, 8)
    with pytest.raises(DivergedError):
        statuses(work)
    work.close()
    assert len(fakes.batches) < 7


def test_batches_are_full_but_for_the_last_of_each_shape():
    fakes = Fakes()
    mixed = [
        image for pair in zip(numbered(13), numbered(13, "9x8"), strict=True) for image in pair
    ]
    assert len(statuses(pipeline(mixed, fakes, 5))) == 26
    for shape in ("8x8", "9x8"):
        sizes = [len(batch) for batch in fakes.batches if batch[0].startswith(shape)]
        assert sizes == [5, 5, 3]
    assert all(len({name.split()[0] for name in batch}) == 1 for batch in fakes.batches)


def test_large_pictures_come_in_smaller_batches(monkeypatch):
    monkeypatch.setattr(pipeline_lib, "_BATCH_PIXELS", 3 * pipeline_lib.LEAST)
    fakes = Fakes()
    statuses(pipeline([*numbered(6), *numbered(3, "200x200")], fakes, 5))
    assert sorted(map(len, fakes.batches)) == [1, 1, 1, 3, 3]


@pytest.mark.parametrize("faults", [(), ("unreadable", "wrong", "impossible", "skipped")])
def test_no_more_pictures_are_in_memory_than_there_is_room_for(monkeypatch, faults):
    """All have different shapes, so that no batch is ever full."""
    monkeypatch.setattr(pipeline_lib, "BUDGET", 4 * pipeline_lib.LEAST)
    lock, held, most = threading.Lock(), 0, 0

    class Counting(Fakes):
        def read(self, image):
            nonlocal held, most
            loaded = super().read(image)
            with lock:
                held += 1
                most = max(most, held)
            return loaded

        def transform(self, batch):
            nonlocal held
            values = super().transform(batch)
            with lock:
                held -= sum(isinstance(value, Exception) for value in values)
            return values

        def output(self, loaded, value, path):
            nonlocal held
            with lock:
                held -= 1
            return super().output(loaded, value, path)

    given = [SourceImage(None, f"8x{width}", f"8x{width}") for width in range(1, 31)]
    for i, fault in enumerate(faults * 4):
        given.insert(2 * i, SourceImage(None, f"{fault} {i}", f"9x{i + 1}"))
    assert len(statuses(pipeline(given, Counting(), 5))) == len(given)
    # Those that the network fails on as a whole aren't counted off above.
    assert most <= 4 + sum(fault == "impossible" for fault in faults * 4)


def test_a_picture_larger_than_all_room_goes_alone(monkeypatch):
    monkeypatch.setattr(pipeline_lib, "BUDGET", pipeline_lib.LEAST)
    found = statuses(pipeline([*numbered(3, "300x300"), *numbered(3)], Fakes(), 5))
    assert list(found.values()) == [Status.DONE] * 6


def test_a_full_disk_ends_all_and_what_is_written_is_kept():
    fakes = Fakes()
    work = pipeline([*numbered(8), *images(["full"] * 4, "9x9"), *numbered(500, "7x7")], fakes, 4)
    found = []
    with pytest.raises(NoSpaceError):
        found.extend(work)
    found += work.stop()
    assert {result.name for result in found} >= {image.name for image in numbered(8)}
    assert len(found) < 500
    assert not any(thread.is_alive() for thread in fakes.threads)


def test_ctrl_c_ends_all_and_what_is_written_is_kept():
    fakes = Fakes()
    work = pipeline(
        [*numbered(8), *images(["interrupted"] * 4, "9x9"), *numbered(500, "7x7")], fakes, 4
    )
    found = []
    with pytest.raises(KeyboardInterrupt):
        found.extend(work)
    found += work.stop()
    done = [name for batch in fakes.committed for name in batch]
    assert sorted(done) == sorted(result.name for result in found)
    assert set(done) <= {name for batch in fakes.batches for name in batch}
    assert not any(thread.is_alive() for thread in fakes.threads)


class Taker(threading.Thread):
    """Takes room, and says whether it got it."""

    def __init__(self, budget, size):
        super().__init__(daemon=True)
        self._budget, self._size, self.result = budget, size, "waiting"
        self.start()

    def run(self):
        try:
            self._budget.acquire(self._size)
            self.result = "taken"
        except BudgetClosedError:
            self.result = "closed"


def test_who_finds_no_room_waits_until_some_is_given_back():
    waits = threading.Semaphore(0)
    budget = PixelBudget(10, waits.release)
    budget.acquire(6)
    budget.acquire(4)
    taker = Taker(budget, 5)
    assert waits.acquire(timeout=60)
    budget.release(4)
    assert (taker.result, budget.waiting) == ("waiting", 1)
    budget.release(6)
    taker.join(60)
    assert (taker.result, budget.waiting) == ("taken", 0)


def test_what_is_larger_than_all_room_gets_it_alone():
    waits = threading.Semaphore(0)
    budget = PixelBudget(10, waits.release)
    budget.acquire(1)
    taker = Taker(budget, 99)
    assert waits.acquire(timeout=60)
    budget.release(1)
    taker.join(60)
    assert taker.result == "taken"


def test_closing_ends_all_waiting():
    waits = threading.Semaphore(0)
    budget = PixelBudget(10, waits.release)
    budget.acquire(10)
    takers = [Taker(budget, 1) for _ in range(2)]
    for _ in takers:
        assert waits.acquire(timeout=60)
    budget.close()
    for taker in takers:
        taker.join(60)
        assert taker.result == "closed"
    with pytest.raises(BudgetClosedError):
        budget.acquire(1)
