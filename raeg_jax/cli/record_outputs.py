"""One record file as it is written: its examples come in any order, and appear at once."""

import contextlib
import os
import pathlib
import threading
from collections.abc import Callable, Iterator

from raeg_jax.cli.outputs import Output, Outputs, Target, translate_output_errors
from raeg_jax.cli.records import Example
from raeg_jax.cli.report import Result, Status
from raeg_jax.image_file.write import png_bytes

# Writes serialised examples, given with their numbers and in their order, as a record file.
Writer = Callable[[pathlib.Path, Iterator[tuple[int, bytes]]], None]


class RecordOutputs(Outputs):
    """Takes the outputs of one record file, and writes them in the order of their numbers.

    Examples are put down in one file as they come, so that no more than a few are in memory.

    Args:
      folder: for files that are gone at the end.
      out: of the data set, for messages.

    Attributes:
      left_out: reasons by number of the example.
    """

    def __init__(self, folder: pathlib.Path, out: pathlib.Path):
        self.left_out: dict[str, str] = {}
        self._folder, self._out = folder, out
        with translate_output_errors(folder, out):
            self._file = (folder / "examples").open("w+b")
        # Where examples lie in the file, by their numbers: (first byte, size).
        self._ranges: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._ranges)

    def begin(self, image: Example) -> Target:
        """See `Outputs`."""
        return Target(image.name, pathlib.Path(image.output))

    def write(self, image: Example, target: Target, output: Output) -> Result:
        """Puts an example down. Its raster lies as the original's: other features refer to that."""
        options = {"orientation": output.picture.orientation, **output.options}
        example = image.with_image(png_bytes(output.picture, **options))
        with self._lock, translate_output_errors(self._folder, self._out, len(example)):
            start = self._file.seek(0, os.SEEK_END)
            self._file.write(example)
            self._file.flush()
            self._ranges[image.number] = (start, len(example))
        return Result(target.name, notes=output.notes, details=output.details)

    def record(self, result: Result) -> None:
        """Takes note of an example that failed."""
        if result.status is Status.FAILED:
            self.left_out[result.name.rpartition("/")[2]] = result.reason

    def close(self) -> None:
        """Removes the file of examples."""
        # What could not be written is tried again, in vain.
        with contextlib.suppress(OSError):
            self._file.close()
        (self._folder / "examples").unlink()

    def finish(self, write: Writer) -> pathlib.Path:
        """Writes the record file, on disk when this returns; returns its temporary path.

        Raises:
          NoSpaceError: the disk is full.
          UserError: it can't be written.
        """
        path = self._folder / "record_file"
        need = sum(size for _, size in self._ranges.values())
        with translate_output_errors(path, self._out, need):
            try:
                write(path, self._examples())
            except (RuntimeError, ValueError) as error:
                # The libraries' errors have no number, by which a full disk is known.
                path.unlink(missing_ok=True)
                raise OSError(str(error)) from error
            with path.open("rb") as file:
                os.fsync(file.fileno())
        return path

    def _examples(self) -> Iterator[tuple[int, bytes]]:
        for number in sorted(self._ranges):
            start, size = self._ranges[number]
            self._file.seek(start)
            yield number, self._file.read(size)
