"""Kills the command at every moment at which it does something to a disk, one after the other.

`python kill_points.py FOLDER SOURCE [SHARDS]` forks for each: threads must not be there yet. Prints
the number of moments; what each killed run left and what the next one made of it lies in FOLDER.
With a number of shards the moments are those of all shards and of merging them.
"""

import os
import pathlib
import signal
import sys

from raeg_jax import cli
from raeg_jax.cli import scan
from raeg_jax.cli.manifest import NAME
from tests.cli import fake_codec

_MOMENTS = ("fsync", "link", "replace", "unlink", "rename", "mkdir", "rmdir")


def die_at(number: int) -> None:
    """Lets this process be killed just before its so-manieth operation."""
    count = 0

    def wrap(operation):
        def counted(*arguments, **options):
            nonlocal count
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return operation(*arguments, **options)

        return counted

    for name in _MOMENTS:
        setattr(os, name, wrap(getattr(os, name)))


def ended_by(commands, moment=None) -> int:
    """Runs commands in a process of their own; returns its exit status, or minus a signal."""
    child = os.fork()
    if not child:
        status = 99
        try:
            if moment:
                die_at(moment)
            status = max(map(cli.main, commands))
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: pathlib.Path, source: pathlib.Path, shards: str = "") -> None:
    """Kills and runs again, until a run ends before the moment."""
    fake_codec.install()
    if scan.is_dataset(source):
        # Once, and not in each process.
        from raeg_jax.cli import tfds_source  # noqa: F401
    common = ["--key", f"{folder}/key", "--generator", f"{folder}/generator", "--batch-size", "2"]
    for moment in range(1, 1000):
        out = folder / f"out{moment}"
        protect = ["protect", str(source), str(out), *common]
        commands = [protect]
        if shards:
            each = [[*protect, f"--shard={i + 1}/{shards}"] for i in range(int(shards))]
            commands = [*each, ["merge", str(out)]]
        killed = ended_by(commands, moment)
        if killed == 0:
            print(moment - 1)
            return
        if killed != -signal.SIGKILL:
            raise RuntimeError(f"moment {moment}: {killed}")
        names = [str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()]
        (folder / f"left{moment}").write_text("\n".join(names))
        # Merged shards are resumed without --shard.
        merged = (out / NAME).exists() and (out / NAME).stat().st_size
        if status := ended_by([protect] if merged else commands):
            raise RuntimeError(f"after moment {moment}: {status}")
    raise RuntimeError("it never ends")


if __name__ == "__main__":
    folder, source, *more = sys.argv[1:]
    main(pathlib.Path(folder), pathlib.Path(source), *more)
