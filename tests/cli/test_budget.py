import io
import os
import threading

import numpy as np
import pytest

from raeg_jax.cli.budget import BYTES_PER_PIXEL, BudgetClosedError, PixelBudget, pixel_cost
from tests.cli.conftest import pixels, save


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


def test_pixels_are_counted_by_the_header_alone(tmp_path):
    path = save(tmp_path / "a.png", np.repeat(pixels(height=30, width=20), 10, axis=0))
    path.write_bytes(path.read_bytes()[:200])
    assert pixel_cost(path) == 300 * 20 + 200 // BYTES_PER_PIXEL
    path.write_bytes(b"")
    assert pixel_cost(path) == 0


def test_the_pixels_of_a_png_are_counted_whatever_profile_it_has(tmp_path):
    path = save(tmp_path / "a.png", pixels(height=30, width=20), icc_profile=bytes(2**20 + 1))
    room = 30 * 20 + path.stat().st_size // BYTES_PER_PIXEL
    assert pixel_cost(path) == pixel_cost(io.BytesIO(path.read_bytes())) == room


def test_the_bytes_of_files_take_room_too(tmp_path):
    path = save(tmp_path / "a.png", pixels(height=30, width=20))
    size = 10**6
    path.write_bytes(path.read_bytes() + bytes(size - path.stat().st_size))
    assert (
        pixel_cost(path)
        == pixel_cost(io.BytesIO(path.read_bytes()))
        == 600 + size // BYTES_PER_PIXEL
    )
    # What is never read takes none.
    os.truncate(path, 2**40)
    assert pixel_cost(path) == 0
    path.unlink()
    os.mkfifo(path)
    assert pixel_cost(path) == 0
