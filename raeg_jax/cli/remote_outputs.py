"""Where outputs are written: folders of this machine, and object stores.

An object store knows neither renaming nor appending. So an output is first written under a name of
its own, which is its SHA-256, in the staging folder; then its line is written down, which has that
hash; then it is copied to its name. Where a killed run left a line without the output, the next run
copies it. What is written down at a time is an object beside the manifest, into which it gets when
the run ends or the next one begins.
"""

import contextlib
import pathlib
import tempfile
import types
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raeg_jax import remote
from raeg_jax.cli.claims import Entry
from raeg_jax.cli.manifest import Manifest, digest, manifest_path, open_manifest, shards_in
from raeg_jax.cli.outputs import (
    FolderOutputs,
    Written,
    folder_outputs,
    staging_of,
    translate_output_errors,
)
from raeg_jax.cli.report import Result
from raeg_jax.cli.scan import Paths
from raeg_jax.errors import UserError
from raeg_jax.remote import RemotePath

# Of the folder of what isn't in the manifest yet.
_PARTS = ".parts"
# Of the other shards' manifests only the settings are asked for, which are in the first lines.
_HEAD_BYTES = 2**16


@contextlib.contextmanager
def open_outputs(
    paths: Paths,
    settings: Mapping[str, Any],
    about: Mapping[str, Any] = types.MappingProxyType({}),
) -> Iterator[tuple[Manifest, FolderOutputs]]:
    """Opens the output folder of a run; see `open_manifest` and `folder_outputs`.

    Args:
      paths: of source and outputs; the suffix is empty where they have several.
      settings: of the run.
      about: more for the head of the manifest.

    Raises:
      UserError: as `open_manifest`.
    """
    out, common = paths.out, (paths.source, paths.suffix, paths.overwrite)
    if not isinstance(out, RemotePath):
        with (
            open_manifest(out, settings, paths.shard, about) as manifest,
            folder_outputs(manifest, *common) as outputs,
        ):
            yield manifest, outputs
        return
    with tempfile.TemporaryDirectory(prefix="raeg-") as name, contextlib.ExitStack() as stack:
        here = pathlib.Path(name)
        log = _Log(out, manifest_path(here, paths.shard))
        try:
            with translate_output_errors(out):
                log.fetch()
            manifest = stack.enter_context(open_manifest(here, settings, paths.shard, about))
        except UserError as error:
            raise UserError(str(error).replace(str(here), str(out))) from error
        with translate_output_errors(out):
            log.put_whole()
            outputs = RemoteOutputs(manifest, *common, out)
        manifest.mirror = log.put_part
        outputs.staging.mkdir(parents=True)
        try:
            yield manifest, outputs
        except BaseException:
            # Else the next run does it.
            with contextlib.suppress(OSError):
                log.put_whole()
            raise
        with translate_output_errors(out):
            outputs.remove_leftovers()
            log.put_whole()


class RemoteOutputs(FolderOutputs):
    """A folder elsewhere: arguments as for `FolderOutputs`, and the folder.

    The folder of the manifest is one on this machine, in which outputs are made.
    """

    def __init__(
        self,
        manifest: Manifest,
        source: pathlib.Path,
        suffix: str,
        overwrite: bool,
        folder: RemotePath,
    ):
        super().__init__(manifest, source, suffix, overwrite)
        # It stands for a path, see `locate`.
        self._folder, self._elsewhere = folder, folder  # type: ignore[assignment]
        self._attempts_in = folder / staging_of(manifest).name
        # What killed runs left, by name.
        self._left = {name: self._attempts_in / name for name in self._attempts_in.listed()[1]}

    def _as_written(self, path: pathlib.Path, entry: Entry) -> bool | None:
        """Compares, and gives an output its name that a killed run only wrote down."""
        assert isinstance(path, RemotePath)
        as_written = _is_as_written(path, entry)
        if not as_written and (attempt := self._left.get(entry.sha256)):
            with translate_output_errors(path):
                remote.copy([attempt], [path])
            return True
        return as_written

    def commit(self, written: Sequence[Written]) -> list[Result]:
        """See `FolderOutputs`: writes outputs under names of their own, then names them."""
        attempts = [self._attempts_in / one.entry.sha256 for one in written]
        paths = [self._elsewhere / one.target.output for one in written]
        with translate_output_errors(self._folder):
            remote.put([one.staged for one in written], attempts)
            self._manifest.claim({w.target.name: (w.entry, w.result.details) for w in written})
            remote.copy(attempts, paths)
            remote.remove(list(dict.fromkeys(attempts)))
        for one in written:
            one.staged.unlink()
            # A killed run may have left the same.
            self._left.pop(one.entry.sha256, None)
        return [one.result for one in written]

    def remove_leftovers(self) -> None:
        """Removes what killed runs left, once all sources have been looked at."""
        remote.remove(list(self._left.values()))


class _Log:
    """A manifest elsewhere, and what is written down meanwhile.

    Args:
      folder: of the outputs.
      path: of the manifest on this machine.
    """

    def __init__(self, folder: RemotePath, path: pathlib.Path):
        self._folder, self._here = folder, path
        self._path, self._parts_in = folder / path.name, folder / f"{path.name}{_PARTS}"
        # Of two runs at a time neither replaces what the other writes down.
        self._run, self._parts = uuid.uuid4().hex, list[RemotePath]()
        self._number = 0

    def fetch(self) -> None:
        """Puts together the manifest, and the beginnings of those of other shards."""
        for shard in (None, *shards_in(self._folder)):
            path = manifest_path(self._here.parent, shard)
            if path != self._here and (self._folder / path.name).exists():
                path.write_bytes(_read(self._folder / path.name)[:_HEAD_BYTES])
        content = _read(self._path) if self._path.exists() else b""
        for name in self._parts_in.listed()[1]:
            self._parts.append(self._parts_in / name)
            self._number = int(name.partition("-")[0])
            content += _read(self._parts[-1])
        if content:
            self._here.write_bytes(content)

    def put_whole(self) -> None:
        """Puts all that is written down into the manifest."""
        remote.put([self._here], [self._path])
        # A kill before this writes their lines down a second time, which does no harm.
        remote.remove(self._parts)
        self._parts = []

    def put_part(self, lines: bytes) -> None:
        """Writes lines down."""
        self._number += 1
        part = self._parts_in / f"{self._number:012}-{self._run}"
        remote.put_bytes(lines, part)
        self._parts.append(part)


def _is_as_written(path: RemotePath, entry: Entry) -> bool | None:
    size = path.size()
    if size is None:
        return None
    return size == entry.output_size and digest(path) == entry.sha256


def _read(path: RemotePath) -> bytes:
    with path.open_copy() as file:
        return file.read()
