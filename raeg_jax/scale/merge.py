"""`raeg merge`: one manifest of those of all shards, once every output is as they say."""

import collections
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from raeg_jax.cli import claims as claims_lib
from raeg_jax.cli import commands
from raeg_jax.cli.claims import ENDED, HEAD, Claims, Content
from raeg_jax.cli.manifest import (
    MERGED,
    NAME,
    is_as_written,
    locked_folder,
    manifest_path,
    remove_shards,
    shards_in,
)
from raeg_jax.cli.outputs import STAGING, remove_unfinished, translate_output_errors
from raeg_jax.cli.record_source import DATA_SET, RecordSource
from raeg_jax.cli.report import FAILED, StoppedError, counted, echo, log
from raeg_jax.cli.scan import Paths
from raeg_jax.errors import UserError
from raeg_jax.files import open_file
from raeg_jax.scale.shard import Shard

# So many shards, or outputs, are named in a message.
_NAMED = 5


def merge_shards(folder: pathlib.Path) -> int:
    """Makes one manifest of those of the shards in an output folder.

    The manifest appears whole, and the shards' go after that; the same command resumes after a
    kill.

    Args:
      folder: of the outputs.

    Returns:
      the exit status: that of a run in which images failed, if any did.

    Raises:
      UserError: shards are missing, have not ended, or don't belong together.
      StoppedError: outputs aren't as the manifests say.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name the output folder of the shards")
    path = folder / NAME
    if not shards_in(folder) and not path.is_file():
        raise UserError(
            f"there are no shards in {folder}: `raeg protect ... --shard i/N` makes them"
        )
    with locked_folder(folder):
        head = claims_lib.read_head(path)
        if head is None:
            head = _merge(folder)
        elif MERGED not in head:
            raise UserError(f"{folder} was made without --shard: there is nothing to merge")
        remove_shards(folder)
        remove_unfinished(folder)
    problem = _describe(folder, head) if DATA_SET in head else None
    return _report(head, problem)


def _describe(folder: pathlib.Path, head: dict[str, Any]) -> str | None:
    """Describes a data set; returns why that is not possible."""
    source = head[DATA_SET]
    if not os.path.exists(source):
        return f"{source}, which it is made of, isn't here"
    settings = {name: head[name] for name in head.keys() - {HEAD, MERGED, DATA_SET}}
    opened = commands.open_source(Paths(pathlib.Path(source), folder))
    assert isinstance(opened, RecordSource)
    return opened.finish(settings)


def _report(head: dict[str, Any], problem: str | None) -> int:
    about = head[MERGED]
    echo(f"{counted(about['count'], 'shard')} merged: {counted(about['finished'], 'image')}")
    if about["failed"]:
        log(
            f"failed: {counted(about['failed'], 'image')}, as the manifest says; the command that "
            "made the shards tries them again without --shard"
        )
    if problem:
        log(
            f"failed: it is no whole data set yet, as {problem}; the command that made the shards "
            "makes it one, without --shard"
        )
    return FAILED if about["failed"] or problem else 0


def _merge(folder: pathlib.Path) -> dict[str, Any]:
    """Writes the manifest, and returns its head."""
    shards = _complete(folder, shards_in(folder))
    pairs, counts, wrong = [], collections.Counter[str](), []
    for shard in shards:
        claims = Claims()
        pairs.append((shard, claims_lib.read(manifest_path(folder, shard), claims)))
        counts.update(pairs[-1][1].ended)
        wrong += [(shard, problem) for problem in _changed(folder, claims)]
    _check_ended(folder, pairs)
    _check_same(folder, pairs)
    if wrong:
        shown = "; ".join(problem for _, problem in wrong[:_NAMED])
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        again = _listed(dict.fromkeys(shard for shard, _ in wrong))
        raise StoppedError(f"error: {shown}{more}: run {again} again, if need be with --overwrite")
    head = {**(pairs[0][1].head or {}), MERGED: {"count": len(shards), **counts}}
    path, staging = folder / NAME, folder / f"{STAGING}-merge"
    remove_unfinished(folder)
    with translate_output_errors(path):
        staging.mkdir()
        with (staging / NAME).open("xb") as file:
            file.write(claims_lib.line(head))
            for shard in shards:
                file.writelines(_lines(manifest_path(folder, shard)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(staging / NAME, path)
    return head


def _complete(folder: pathlib.Path, shards: Sequence[Shard]) -> list[Shard]:
    """Returns all shards in order.

    Raises:
      UserError: some are missing, or there are those of two divisions.
    """
    counts = sorted({shard.count for shard in shards})
    if len(counts) > 1:
        raise UserError(
            f"{folder} holds shards of {counts[0]} and of {counts[1]}, which can't be merged: make "
            "all shards with the same N in another folder"
        )
    complete = [Shard(number, counts[0]) for number in range(1, counts[0] + 1)]
    if missing := [shard for shard in complete if shard not in shards]:
        raise UserError(f"{folder} lacks shards: run {_listed(missing)} first")
    return complete


def _check_ended(folder: pathlib.Path, pairs: Iterable[tuple[Shard, Content]]) -> None:
    if running := [shard for shard, content in pairs if content.ended is None]:
        raise UserError(f"shards in {folder} have not ended: run {_listed(running)} again")


def _check_same(folder: pathlib.Path, pairs: Sequence[tuple[Shard, Content]]) -> None:
    (first, content), *others = pairs
    head = content.head or {}
    for shard, other in others:
        for name, value in (other.head or {}).items():
            # The source may be elsewhere on another machine.
            if name == DATA_SET:
                continue
            if head.get(name) != value:
                raise UserError(
                    f"{folder} holds images of --shard={first} with {name} {head.get(name)}, and "
                    f"of --shard={shard} with {value}: make one of them again in another folder"
                )


def _changed(folder: pathlib.Path, claims: Claims) -> Iterator[str]:
    """Yields what is wrong with outputs."""
    for name in claims:
        entry = claims.get(name)
        if entry is None:
            continue
        as_written = is_as_written(folder / entry.output, entry)
        if not as_written:
            state = "is missing" if as_written is None else "has changed since it was written"
            yield f"{folder / entry.output} {state}"


def _lines(path: pathlib.Path) -> Iterator[bytes]:
    """Yields a manifest's lines but for the head and those that say that a run ended."""
    mark = claims_lib.line({ENDED: {}})[: len(ENDED) + 3]
    with open_file(path) as file:
        next(file, None)
        yield from (line for line in file if not line.startswith(mark))


def _listed(shards: Iterable[Shard]) -> str:
    """Returns such as '--shard=3/16, --shard=5/16 and 9 others'."""
    named = [f"--shard={shard}" for shard in shards]
    if (others := len(named) - _NAMED) > 1:
        return f"{', '.join(named[:_NAMED])} and {others} others"
    return " and ".join(filter(None, [", ".join(named[:-1]), named[-1]]))
