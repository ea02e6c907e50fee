"""Files appear whole or not at all, and only regular ones are read."""

import errno
import os
import socket
import stat

import pytest

from raeg_jax import compilation
from raeg_jax.errors import UserError
from raeg_jax.files import (
    RefusedFileError,
    cache_folder,
    check_free_space,
    open_file,
    read_file,
    translate_write_errors,
    whole_file,
    write_new,
    write_whole,
)


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "results.json"
    for content in (b"first\n", b"", b"the second, which is longer\n"):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == [path.name]
    write_whole(str(tmp_path / "by_name"), b"text")
    assert (tmp_path / "by_name").read_bytes() == b"text"


def test_the_name_appears_at_the_end(tmp_path):
    path = tmp_path / "results.json"
    write_whole(path, b"old")
    with whole_file(path) as first, whole_file(path) as second:
        first.write(b"first")
        second.write(b"second")
        assert path.read_bytes() == b"old"
    # Two writers don't mix; the outer block ends last.
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == [path.name]


def test_names_may_be_as_long_as_the_file_system_lets_them(tmp_path):
    for write, letter in ((write_whole, "a"), (write_new, "b")):
        write(tmp_path / (255 * letter), b"content")
        assert (tmp_path / (255 * letter)).read_bytes() == b"content"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "results.json"
    write_whole(path, b"old")

    def fail():
        with whole_file(path) as file:
            file.write(b"half of the ne")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


def test_content_is_on_disk_before_the_name(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, n=name, c=call: (calls.append(n), c(*args)))
    write_whole(tmp_path / "results.json", b"new")
    assert calls == ["fsync", "replace"]


def test_others_may_read_what_the_umask_allows(tmp_path):
    before = os.umask(0o022)
    try:
        write_whole(tmp_path / "results.json", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "results.json").stat().st_mode) == 0o644


def test_a_failed_write_is_an_os_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder" / "full").mkdir(parents=True)
    for path in ("missing/results.json", "file/results.json", "folder"):
        with pytest.raises(OSError, match=f"{path}'"):  # not the name of the temporary file
            write_whole(tmp_path / path, b"new")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_has_its_mode_and_is_never_replaced(tmp_path, monkeypatch, links):
    def link(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", link)
    path = tmp_path / "new"
    write_new(path, b"content", mode=0o600)
    with pytest.raises(FileExistsError):
        write_new(path, b"other")
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["new"]


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "link"])
def test_only_regular_files_are_opened(tmp_path, monkeypatch, kind):
    path = tmp_path / "p.jpg"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "socket":
            monkeypatch.chdir(tmp_path)  # The names of sockets must be short.
            with socket.socket(socket.AF_UNIX) as server:
                server.bind("p.jpg")
        case "link":
            os.mkfifo(tmp_path / "pipe")
            path.symlink_to("pipe")
    with pytest.raises(RefusedFileError, match=r"^is not a file$"):
        open_file(path)
    with pytest.raises(RefusedFileError, match=r"^is not a file$"):
        read_file(str(path))


def test_a_file_that_becomes_a_pipe_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    file = tmp_path / "file"
    file.write_bytes(b"")
    status = file.stat()
    monkeypatch.setattr(os, "stat", lambda path: status)
    with pytest.raises(RefusedFileError, match="is not a file"):
        open_file(tmp_path / "pipe")


def test_folders_and_missing_files_are_os_errors(tmp_path):
    with pytest.raises(IsADirectoryError):
        open_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "nowhere")


def test_the_first_bytes_are_checked_before_the_rest_is_read(tmp_path):
    path = tmp_path / "huge.jpg"
    content = bytes(range(100))
    path.write_bytes(content)
    heads = []
    assert read_file(path, heads.append) == content
    assert heads == [content[:32]]

    def refuse(head):
        raise KeyError(head)

    os.truncate(path, 2**40)
    with pytest.raises(KeyError):
        read_file(path, refuse)
    with pytest.raises(RefusedFileError, match=r"^has 1,099,511,627,776 bytes, more than the "):
        read_file(path)
    os.truncate(path, 0)
    assert read_file(path) == b""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            "^RUN can't be used .No space left.*: make",
        ),
        (OSError(errno.EROFS, "", "RUN/x"), "^RUN/x can't be used .*: give this user access"),
        (
            ValueError("RESOURCE_EXHAUSTED: Writing /x: No space left on device"),
            "^RUN can't be used",
        ),
        (FileExistsError(errno.EEXIST, "", "RUN/classifiers"), "^RUN/classifiers is in the way"),
    ],
)
def test_errors_of_writing_name_the_way_out(error, message):
    with pytest.raises(UserError, match=message), translate_write_errors("RUN"):
        raise error
    # TensorStore's and Orbax's errors have one another as their cause.
    later = RuntimeError("Event loop is closed")
    later.__context__ = error
    with pytest.raises(UserError, match=message), translate_write_errors("RUN"):
        raise later


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "classifiers").touch()
    message = f"^{tmp_path}/classifiers is in the way .Not a directory.: remove it"
    with pytest.raises(UserError, match=message), translate_write_errors(tmp_path):
        (tmp_path / "classifiers" / "net" / "unfinished").mkdir()


@pytest.mark.parametrize("error", [FileNotFoundError(2, "no file"), ValueError("x"), MemoryError()])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as raised, translate_write_errors("RUN"):
        raise error
    assert raised.value is error


def test_free_space_is_checked_and_nothing_left_behind(tmp_path, monkeypatch):
    check_free_space(tmp_path)
    assert list(tmp_path.iterdir()) == []

    def full(number):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        check_free_space(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", ["gs://bucket/data", "~no-such-user/data"])
def test_impossible_folders_of_data_are_errors_of_the_user(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAEG_DATA", given)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.delenv(compilation.CACHE_VARIABLE, raising=False)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    with pytest.raises(UserError, match=f"^{given}"):
        cache_folder()
    # Commands that need no prepared data work without a cache of compiled programs.
    compilation.enable_cache()
    with pytest.raises(UserError, match=f"^{given}"):
        compilation.enable_cache(choice=given)
    assert list(tmp_path.iterdir()) == []
