import errno
import fcntl

import pytest

from raeg_jax.lock import locked


def test_a_held_lock_is_not_waited_for_if_asked(tmp_path):
    path = tmp_path / "lock"
    with locked(path), pytest.raises(BlockingIOError), locked(path, wait=False):
        pass
    with locked(tmp_path / "lock", wait=False):
        pass


def test_a_file_system_without_locks_locks_nothing(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "lock", wait=False):
        pass
