import signal
import sys

import subprocess_timing


def python(line):
    return subprocess_timing.run([sys.executable, "-c", line])


def test_status_and_time_are_those_of_the_process():
    usage = python("import time; time.sleep(0.2); raise SystemExit(3)")
    assert usage.status == 3
    assert usage.seconds > 0.2
    killed = python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert killed.status == -signal.SIGKILL


def test_memory_is_counted_in_bytes():
    # A Python that does nothing has some 10 MiB: 10,000 in KiB.
    assert 2**22 < python("pass").peak_bytes < 2**36


def test_the_command_is_that_of_this_python():
    command = subprocess_timing.command("keygen", "--help")
    assert subprocess_timing.run(command).status == 0
    assert command[0] == sys.executable
