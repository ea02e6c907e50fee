"""A shard of a data set as it is made: images come in any order, and are written in theirs."""

import contextlib
import os
import pathlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from tensorflow_datasets.core.file_adapters import ADAPTER_FOR_FORMAT, FileFormat

from raeg_jax.image_file.read import ImageFile
from raeg_jax.image_file.write import png_bytes
from raeg_jax.tool.outcome import Outcome, Status
from raeg_jax.tool.outputs import Target, Written, done, told
from raeg_jax.tool.tfds_example import Example, open_records


class ShardOutputs:
    """Takes the outputs of one shard, see `outputs.Outputs`.

    Examples are put down in one file as they come, so that no more than a few are in memory.

    Attributes:
      left_out: reasons by number of the example in its split.
    """

    def __init__(self, folder: pathlib.Path, out: pathlib.Path):
        """Begins.

        Args:
          folder: for files that are gone at the end.
          out: of the data set, for messages.
        """
        self.left_out: dict[str, str] = {}
        self._folder, self._out = folder, out
        with told(folder, out):
            self._file = (folder / "examples").open("w+b")
        # Where examples lie in the file, by their numbers: (first byte, size).
        self._places: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._places)

    def begin(self, job: Example) -> Target:
        """Each example has a place, under a name as a file would have."""
        return Target(job, pathlib.Path(f"{job.name}.png"), replace=False)

    def write(
        self, target: Target, picture: ImageFile, notes: Sequence[str], details: Any, **options
    ) -> Written:
        """Puts an example down. Its raster lies as the original's: other features refer to that."""
        options = {"orientation": picture.orientation, **options}
        example = target.job.with_image(png_bytes(picture, **options))
        with self._lock, told(self._folder, self._out, len(example)):
            place = self._file.seek(0, os.SEEK_END)
            self._file.write(example)
            self._file.flush()
            self._places[target.job.number] = (place, len(example))
        return Written(target, tuple(notes), details)

    def keep(self, written: Sequence[Written]) -> list[Outcome]:
        """Nothing more is to be done until all are there."""
        return [done(one) for one in written]

    def tell(self, outcome: Outcome) -> None:
        """Takes note of an example that failed."""
        if outcome.status is Status.FAILED:
            self.left_out[outcome.name.rpartition("/")[2]] = outcome.reason

    def close(self) -> None:
        """Clears away what is in the folder."""
        # What could not be written is tried again, in vain.
        with contextlib.suppress(OSError):
            self._file.close()
        (self._folder / "examples").unlink()

    def finish(self) -> pathlib.Path:
        """Writes the record file, on disk when this returns; gives it a name that is taken later.

        Raises:
          NoSpaceError: the disk is full.
          UserError: it can't be written.
        """
        path = self._folder / "shard"
        need = sum(size for _, size in self._places.values())
        with told(path, self._out, need):
            try:
                ADAPTER_FOR_FORMAT[FileFormat.ARRAY_RECORD].write_examples(path, self._examples())
                written = len(open_records(path))
            except (RuntimeError, ValueError) as error:
                # The library's errors have no number, by which a full disk is known.
                path.unlink(missing_ok=True)
                raise OSError(str(error)) from error
            if written != len(self):
                path.unlink()
                raise OSError(f"only {written} of {len(self)} examples could be written")
            with path.open("rb") as file:
                os.fsync(file.fileno())
        return path

    def _examples(self) -> Iterator[tuple[int, bytes]]:
        for number in sorted(self._places):
            place, size = self._places[number]
            self._file.seek(place)
            yield number, self._file.read(size)
