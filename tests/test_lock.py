import errno
import fcntl
import functools
import os
import threading

import pytest

from raeg_jax import lock
from raeg_jax.lock import locked


def test_a_held_lock_can_be_an_error(tmp_path):
    path = tmp_path / "lock"
    with locked(path), pytest.raises(BlockingIOError), locked(path, wait=False):
        pass
    with locked(tmp_path / "lock", wait=False):
        pass


def test_a_shared_lock_keeps_out_only_those_that_want_it_alone(tmp_path):
    path = tmp_path / "lock"
    shared = functools.partial(locked, path, wait=False, shared=True)
    with shared(), shared(), pytest.raises(BlockingIOError), locked(path, wait=False):
        pass
    with locked(path, wait=False), pytest.raises(BlockingIOError), shared():
        pass


def test_a_file_system_without_locks_locks_nothing(tmp_path, monkeypatch):
    def refuse(file, mode):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "lock", wait=False):
        pass


class Msvcrt:
    """Locks as Windows does: other handles can't lock a byte that one has locked."""

    LK_UNLCK, LK_NBLCK = 0, 2

    def __init__(self):
        self.held = set()

    def locking(self, handle, mode, count):
        file = os.fstat(handle).st_ino, os.lseek(handle, 0, os.SEEK_CUR), count
        if mode == self.LK_UNLCK:
            self.held.remove(file)
        elif file in self.held:
            raise PermissionError(errno.EACCES, "Permission denied")
        else:
            self.held.add(file)


def test_locks_of_windows_leave_the_file_readable(tmp_path, monkeypatch):
    windows, path = Msvcrt(), tmp_path / "lock"
    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(lock, "msvcrt", windows)
    path.write_bytes(b"content")
    with locked(path):
        ((_, byte, count),) = windows.held
        assert (byte > path.stat().st_size, count) == (True, 1)
        with pytest.raises(BlockingIOError), locked(path, wait=False):
            pass
        entered = threading.Event()

        def waits():
            with locked(path):
                entered.set()

        other = threading.Thread(target=waits)
        other.start()
        assert not entered.wait(0.3)
    other.join(60)
    assert entered.is_set()
    assert not windows.held
    assert path.read_bytes() == b"content"
