import io
import os
import threading

import numpy as np
import pytest

from raeg_jax.tool.room import BYTES_A_PIXEL, ClosedError, Room, room_of
from tests.tool.conftest import pixels, save


class Taker(threading.Thread):
    """Takes room, and says whether it got it."""

    def __init__(self, room, size):
        super().__init__(daemon=True)
        self._room, self._size, self.result = room, size, "waiting"
        self.start()

    def run(self):
        try:
            self._room.take(self._size)
            self.result = "taken"
        except ClosedError:
            self.result = "closed"


def test_who_finds_no_room_waits_until_some_is_given_back():
    told = threading.Semaphore(0)
    room = Room(10, told.release)
    room.take(6)
    room.take(4)
    taker = Taker(room, 5)
    assert told.acquire(timeout=60)
    room.give(4)
    assert (taker.result, room.waiting) == ("waiting", 1)
    room.give(6)
    taker.join(60)
    assert (taker.result, room.waiting) == ("taken", 0)


def test_what_is_larger_than_all_room_gets_it_alone():
    told = threading.Semaphore(0)
    room = Room(10, told.release)
    room.take(1)
    taker = Taker(room, 99)
    assert told.acquire(timeout=60)
    room.give(1)
    taker.join(60)
    assert taker.result == "taken"


def test_closing_ends_all_waiting():
    told = threading.Semaphore(0)
    room = Room(10, told.release)
    room.take(10)
    takers = [Taker(room, 1) for _ in range(2)]
    for _ in takers:
        assert told.acquire(timeout=60)
    room.close()
    for taker in takers:
        taker.join(60)
        assert taker.result == "closed"
    with pytest.raises(ClosedError):
        room.take(1)


def test_pixels_are_counted_by_the_header_alone(tmp_path):
    path = save(tmp_path / "a.png", np.repeat(pixels(height=30, width=20), 10, axis=0))
    path.write_bytes(path.read_bytes()[:200])
    assert room_of(path) == 300 * 20 + 200 // BYTES_A_PIXEL
    path.write_bytes(b"")
    assert room_of(path) == 0


def test_the_pixels_of_a_png_are_counted_whatever_profile_it_has(tmp_path):
    path = save(tmp_path / "a.png", pixels(height=30, width=20), icc_profile=bytes(2**20 + 1))
    room = 30 * 20 + path.stat().st_size // BYTES_A_PIXEL
    assert room_of(path) == room_of(io.BytesIO(path.read_bytes())) == room


def test_the_bytes_of_files_take_room_too(tmp_path):
    path = save(tmp_path / "a.png", pixels(height=30, width=20))
    size = 10**6
    path.write_bytes(path.read_bytes() + bytes(size - path.stat().st_size))
    assert room_of(path) == room_of(io.BytesIO(path.read_bytes())) == 600 + size // BYTES_A_PIXEL
    # What is never read takes none.
    os.truncate(path, 2**40)
    assert room_of(path) == 0
    path.unlink()
    os.mkfifo(path)
    assert room_of(path) == 0
